"""A watch that is open before what is measured begins: a change is seen when it is told, not at a next look.

One connection of the standard library's HTTP client; a thread notes the time at which each event was read.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from loft.kube.config import parse_kubeconfig
from loft.kube.tls import tls_context

LIMIT_S = 120.0


class Watch:
    """Watches one collection; `path` is that of its list, such as /api/v1/namespaces/a/pods."""

    def __init__(self, kubectl: Callable[..., str], path: str) -> None:
        config = kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml")
        endpoint = parse_kubeconfig(config.encode())
        address = urlsplit(endpoint.server)
        self._connection = http.client.HTTPSConnection(
            str(address.hostname), address.port, context=tls_context(endpoint), timeout=LIMIT_S
        )
        self._headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        self._path = path
        self._events: queue.SimpleQueue[tuple[float, dict[str, Any]]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        version = json.load(self._get("limit=1"))["metadata"]["resourceVersion"]
        answer = self._get(f"watch=1&resourceVersion={version}")
        self._thread = threading.Thread(target=self._read, args=(answer,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def until(self, fits: Callable[[dict[str, Any]], bool], count: int = 1) -> float:
        """Wait for so many events that fit; return the time (perf_counter) of the last. Raises: TimeoutError."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                seen, event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{self._path}: {count} more events should have come in {LIMIT_S:.0f} s") from None
            if event.get("type") == "ERROR":
                raise ConnectionError(f"the watch of {self._path} ended: {event}")
            count -= fits(event)
            if not count:
                return seen

    def _get(self, query: str) -> http.client.HTTPResponse:
        self._connection.request("GET", f"{self._path}?{query}", headers=self._headers)
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise ConnectionError(f"{self._path}?{query}: {answer.status} {answer.read(500)!r}")
        return answer

    def _read(self, answer: http.client.HTTPResponse) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while line := answer.readline():
                seen = time.perf_counter()
                self._events.put((seen, json.loads(line)))
        self._events.put((time.perf_counter(), {"type": "ERROR", "object": "the connection was closed"}))
