"""A watch: the changes of a collection in order, across the connections it takes.

The server ends every watch after some minutes; a watch goes on from the last version it has seen, which
bookmarks keep recent. It does not hide failures: a broken connection, silence, and a version too old for the
server are raised, and what to do then is the caller's (the informer waits and goes on, or lists again).
Source: KEP-956 (bookmarks), Kubernetes API concepts "Efficient detection of changes".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, Self

import msgspec

from loft.kube import transport
from loft.kube.errors import ApiError, Gone, Unavailable, error_from_status, unreachable
from loft.kube.lines import Lines, LineTooLong
from loft.kube.request import Request

SHORTEST_S = 1.0
"""A watch that the server ends sooner without an event is a failure, or reconnecting would spin."""


class WatchEvent(msgspec.Struct):
    """ADDED, MODIFIED or DELETED, with the object as it is after (DELETED: before) the change."""

    type: str
    object: dict[str, Any]


_event = msgspec.json.Decoder(WatchEvent)


class Stream(Protocol):
    """The body of an answer; `read` returns b"" at its end and raises ApiError when it breaks."""

    async def read(self) -> bytes:
        """Return the next bytes."""

    def close(self) -> None:
        """Give the connection up."""


OpenStream = Callable[[Request], Awaitable[Stream]]


class Watch:
    """An endless asynchronous iterator of events; close it with `aclose` when leaving it early.

    `resource_version` is the version up to which everything was seen; a new watch can go on from there.
    Raises while iterating: Gone when the version is too old (list again), Unavailable when the connection
    breaks or is silent for too long, other ApiErrors as the server sends them.
    """

    def __init__(self, open_stream: OpenStream, request: Callable[[str], Request], resource_version: str) -> None:
        self.resource_version = resource_version
        self.on_connected: Callable[[], None] = lambda: None
        """Called each time the server has accepted the watch."""
        self._open = open_stream
        self._request = request
        self._events = self._follow()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        return await anext(self._events)

    async def aclose(self) -> None:
        """End the watch and its connection."""
        await self._events.aclose()

    async def _follow(self) -> AsyncGenerator[WatchEvent, None]:
        while True:
            began, seen = time.monotonic(), False
            stream = await self._open(self._request(self.resource_version))
            self.on_connected()
            try:
                async for event in self._connection(stream):
                    seen = True
                    if event.type != "BOOKMARK":
                        yield event
            finally:
                stream.close()
            if not self.resource_version or (not seen and time.monotonic() - began < SHORTEST_S):
                raise Unavailable(0, "WatchEnded", "the server ended the watch at once")

    async def _connection(self, stream: Stream) -> AsyncIterator[WatchEvent]:
        """Yield the events of one connection, bookmarks too, and keep `resource_version`."""
        silence_s = transport.WATCH_SILENCE_S
        lines = Lines()
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    chunk = await stream.read()
            except TimeoutError as error:
                raise unreachable("the API server", f"the watch was silent for {silence_s:.0f} s") from error
            if not chunk:
                return
            try:
                complete = lines.feed(chunk)
            except LineTooLong as error:
                raise ApiError(0, "TooLarge", f"an event of the watch cannot be read: {error}") from error
            for line in complete:
                event = self._decoded(line)
                if event.type == "BOOKMARK":
                    silence_s = transport.BOOKMARK_SILENCE_S
                yield event

    def _decoded(self, line: bytes) -> WatchEvent:
        try:
            event = _event.decode(line)
        except msgspec.DecodeError as error:
            raise Unavailable(0, "NotJSON", f"the watch sent something that is no event: {error}") from error
        if event.type == "ERROR":
            refusal = error_from_status(event.object)
            raise Gone(410, refusal.reason, refusal.message) if refusal.status == 410 else refusal
        version = (event.object.get("metadata") or {}).get("resourceVersion")
        if version:
            self.resource_version = version
        return event
