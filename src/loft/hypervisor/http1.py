"""A small HTTP/1.1 server on h11: the kubelet API, the admission webhook and the health endpoints are served by it.

A web framework would hide the two things needed here: a connection that is kept alive carries many requests, of
which any one may be upgraded to a raw byte stream; and such a stream must be handed over with the bytes the
parser has already read. Requests are bounded in head and body; one that breaks HTTP gets 400 and the connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import msgspec

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 64 * 1024
READ_BYTES = 64 * 1024
IDLE_S = 300.0
CLOSE_S = 2.0

Headers = Sequence[tuple[bytes, bytes]]


class Request(msgspec.Struct, frozen=True):
    """A request's head. `path` is decoded for looking up, `raw_path` is what was sent."""

    method: str
    path: str
    raw_path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[bytes, bytes], ...]

    def header(self, name: str) -> str:
        """Return the first header of that name ("" when absent)."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key == wanted), "")

    def all(self, name: str) -> list[str]:
        """Return every header of that name, in order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key == wanted]


class ClientGone(Exception):
    """The other side closed or broke the connection; there is nobody left to answer."""


class Exchange:
    """One request on a connection and the means to answer it: exactly one of the three ways."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self.request = request
        self.answered = False

    async def body(self, limit: int) -> bytes:
        """Read the whole body. Raises: ValueError above `limit` bytes."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in self._connection.body_chunks():
            size += len(chunk)
            if size > limit:
                raise ValueError(f"the body is larger than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    async def respond(self, status: int, body: bytes = b"", content_type: str = "text/plain") -> None:
        """Send a whole response."""
        self.answered = True
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await self._connection.send(h11.Response(status_code=status, headers=headers))
        if body:
            await self._connection.send(h11.Data(data=body))
        await self._connection.send(h11.EndOfMessage())

    async def begin(self, status: int, content_type: str) -> None:
        """Send the head of a response whose length is not known; `send_part` and `end` follow."""
        self.answered = True
        headers = [(b"content-type", content_type.encode())]
        await self._connection.send(h11.Response(status_code=status, headers=headers))

    async def send_part(self, data: bytes) -> None:
        """Send a piece of a begun response at once, with back-pressure."""
        await self._connection.send(h11.Data(data=data))

    async def end(self) -> None:
        """Finish a begun response."""
        await self._connection.send(h11.EndOfMessage())

    async def left(self) -> None:
        """Return when the other side has closed the connection.

        For answers that may be silent for long: without looking, one would hold resources for nobody. What it sends
        meanwhile belongs to its next request and is kept for that, up to the size of a request's head.
        """
        connection = self._connection
        await connection.drain_body()
        kept = 0
        while kept <= HEAD_BYTES_MAX:
            data = await connection.read()
            if not data:
                return
            kept += len(data)
            connection.parser.receive_data(data)

    async def upgrade(self, headers: Headers) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Answer 101 and give up the connection: (reader, writer, bytes already read beyond the request)."""
        self.answered = True
        connection = self._connection
        await connection.drain_body()
        await connection.send(h11.InformationalResponse(status_code=101, headers=list(headers)))
        connection.given_up = True
        early = connection.parser.trailing_data[0]
        return connection.reader, connection.writer, early


Handler = Callable[[Exchange], Awaitable[None]]


class Connection:
    """One accepted connection, from its first request to its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self.given_up = False

    async def serve(self, handler: Handler) -> None:
        """Answer requests until either side ends the connection. Does not close the writer."""
        while True:
            try:
                event = await self._next_event(IDLE_S)
            except h11.RemoteProtocolError as error:
                await self._refuse_broken(error)
                return
            except (ClientGone, TimeoutError):
                return
            if not isinstance(event, h11.Request):
                return
            exchange = Exchange(self, _request(event))
            try:
                await self._answer(exchange, handler)
            except (ClientGone, OSError, h11.RemoteProtocolError):
                return
            if self.given_up or not self._ready_for_next():
                return

    async def _answer(self, exchange: Exchange, handler: Handler) -> None:
        await handler(exchange)
        if not exchange.answered:
            await exchange.respond(500, b"no answer")
        if not self.given_up:
            await self.drain_body()

    async def _refuse_broken(self, error: h11.RemoteProtocolError) -> None:
        if self.parser.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = str(error).encode()[:200]
        headers = [(b"content-length", str(len(text)).encode()), (b"connection", b"close")]
        try:
            await self.send(h11.Response(status_code=error.error_status_hint, headers=headers))
            await self.send(h11.Data(data=text))
            await self.send(h11.EndOfMessage())
        except (ConnectionError, ClientGone):
            log.debug("client left before its 400")

    def _ready_for_next(self) -> bool:
        if self.parser.our_state is h11.DONE and self.parser.their_state is h11.DONE:
            self.parser.start_next_cycle()
            return True
        return False

    async def body_chunks(self) -> AsyncIterator[bytes]:
        """Yield the request's body."""
        while self.parser.their_state is h11.SEND_BODY:
            event = await self._next_event(IDLE_S)
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return

    async def drain_body(self, limit: int = 1 << 20) -> None:
        """Read and drop what is left of the body; more than `limit` ends the connection."""
        async for chunk in self.body_chunks():
            limit -= len(chunk)
            if limit < 0:
                raise ClientGone("body too long to skip")

    async def send(self, event: h11.Event) -> None:
        """Write one h11 event and wait for buffer room."""
        data = self.parser.send(event)
        if data:
            self.writer.write(data)
            await self.writer.drain()

    async def _next_event(self, wait_s: float) -> object:
        while True:
            event = self.parser.next_event()
            if event is h11.NEED_DATA:
                if self.parser.they_are_waiting_for_100_continue:
                    await self.send(h11.InformationalResponse(status_code=100, headers=[]))
                async with asyncio.timeout(wait_s):
                    data = await self.read()
                self.parser.receive_data(data)
                continue
            if isinstance(event, h11.ConnectionClosed):
                raise ClientGone("closed")
            return event

    async def read(self) -> bytes:
        """Read what is there. Raises: ClientGone."""
        try:
            return await self.reader.read(READ_BYTES)
        except ConnectionError as error:
            raise ClientGone(str(error)) from error


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait for it; an error of the dead peer is no news."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_S):
            await writer.wait_closed()
    except TimeoutError:
        # A TLS transport that has gone by itself meanwhile has nothing left to abort, and says so in its own way.
        with contextlib.suppress(AttributeError):
            writer.transport.abort()
    except OSError as error:
        log.debug("connection ended with %s", error)


conversations: set[asyncio.Task[None] | None] = set()
"""Tasks of open connections. asyncio knows tasks and readers weakly only: a conversation in which one side has gone and
the other is silent would be garbage, and the collector would run its clean-up inside whatever task is at work then;
the time limit in `close` would become that one's, and cancel it seconds later."""

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def held(serve: Serve) -> Serve:
    """Return a callback for asyncio.start_server / start_unix_server whose task is held until it ends."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        conversations.add(task)
        try:
            await serve(reader, writer)
        finally:
            conversations.discard(task)

    return conversation


def accept(handler: Handler) -> Serve:
    """Return the callback for asyncio.start_server / start_unix_server that serves `handler`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await Connection(reader, writer).serve(handler)
        finally:
            await close(writer)

    return held(serve)


def _request(event: h11.Request) -> Request:
    target = event.target.decode("latin-1")
    parts = urlsplit(target) if target.startswith("/") else urlsplit("/")
    return Request(
        method=event.method.decode("latin-1"),
        path=unquote(parts.path),
        raw_path=target,
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers=tuple((bytes(name), bytes(value)) for name, value in event.headers),
    )
