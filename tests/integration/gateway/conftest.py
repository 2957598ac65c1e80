"""Fixtures of the gateway's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.gateway.bed import Bed, Side


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Centre and agent in front of an upstream that shows what reached it."""
    made = Bed(Path(tmp_path_factory.mktemp("gw")))
    yield made
    made.close()


@pytest.fixture(params=["centre", "agent"])
def side(bed: Bed, request: pytest.FixtureRequest) -> Side:
    """Each test once against the centre and once against the agent's own endpoint."""
    return bed.side(request.param)
