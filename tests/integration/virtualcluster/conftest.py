"""Virtual control planes for tests, all on one host API server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from integration.api_server import binary
from integration.virtualcluster.bed import CIDR, Bed

Story = Callable[[Bed], Awaitable[None]]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def host_server(start_api_server: Callable[..., Any]) -> Any:
    return start_api_server("vc-host", service_cidr=CIDR)


@pytest.fixture(scope="session")
def tell(host_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Run a story in a virtual cluster of its own; chart values as `a.b=c`."""

    def run(story: Story, *settings: str) -> None:
        program = binary()
        assert program is not None
        bed = Bed(host_server, program, tmp_path_factory.mktemp("vc"), f"vc{next(_numbers)}")

        async def whole() -> None:
            async with bed.running(*settings):
                await story(bed)

        asyncio.run(whole())

    return run
