"""Two API servers for the sync tests: one plays the host, one the virtual cluster."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, running
from loft.kube.client import Client

Story = Callable[[Scene], Awaitable[None]]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def tell(start_api_server: Callable[..., Any]) -> Callable[[Story], None]:
    """Run a story in a virtual cluster of its own, with its Syncer running."""
    host, virtual = start_api_server("sync-host"), start_api_server("sync-virtual")

    def run(story: Story) -> None:
        asyncio.run(_run(story))

    async def _run(story: Story) -> None:
        async with Client(host.endpoint) as at_host, Client(virtual.endpoint) as inside:
            scene = Scene(at_host, inside, f"vc{next(_numbers)}")
            try:
                async with running(scene):
                    await story(scene)
            finally:
                await scene.clean()

    return run
