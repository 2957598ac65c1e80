"""Fixtures for tests against real API servers; the processes end with the session, also after errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integration.api_server import ApiServer, binary


@pytest.fixture(scope="session")
def start_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ApiServer]]:
    """`start_api_server(name, extra_args=[…], controller_manager=False, …)` -> a running ApiServer of its own."""
    program = binary()
    if program is None or not program.exists():
        # Not a skip: a run without these tests would look as good as one in which they pass.
        pytest.fail("no Kubernetes binary: run `loft start` once, or set LOFT_TEST_KUBERNETES", pytrace=False)
    started: list[ApiServer] = []

    def start(name: str, **options: Any) -> ApiServer:
        server = ApiServer(tmp_path_factory.mktemp(name), program, **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in reversed(started):
        server.stop()


@pytest.fixture(scope="session")
def api_server(start_api_server: Callable[..., ApiServer]) -> ApiServer:
    """The API server that tests share; each test uses namespaces and names of its own."""
    return start_api_server("api-server")
