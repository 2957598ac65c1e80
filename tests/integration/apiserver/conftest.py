"""Fixtures of the aggregated API servers' tests."""

from collections.abc import Callable, Iterator

import pytest

from integration.api_server import ApiServer
from integration.apiserver.bed import Bed


@pytest.fixture(scope="session")
def bed(start_api_server: Callable[..., ApiServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A real API server with the CRDs, and both of our groups behind its aggregation layer."""
    made = Bed(start_api_server("aggregation", controller_manager=True), tmp_path_factory.mktemp("bed"))
    made.start()
    yield made
    made.stop()
