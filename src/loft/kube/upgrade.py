"""HTTP/1.1 upgrades as raw byte streams: exec, attach and port-forward speak SPDY/3.1 or WebSocket after a 101.

Nothing here speaks those protocols; they are carried. So the connection is opened by hand, and handed over
exactly behind the head of the answer. Source: RFC 9110 §7.8, RFC 9112.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from urllib.parse import unquote, urlsplit

import h11
import msgspec

from loft.kube import transport
from loft.kube.config import Endpoint
from loft.kube.errors import ApiError, Unavailable, error_from, unreachable
from loft.kube.request import Request

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 64 * 1024
RECEIVE_BUFFER_BYTES = 256 * 1024
"""The writer on the other side is stopped by TCP when this much waits to be read."""

Headers = list[tuple[str, str]]


class Upgraded(msgspec.Struct):
    """The answer to an upgrade. After a 101 the streams are the caller's, who must close the writer."""

    status: int
    headers: Headers
    body: bytes
    """The beginning of the body of a refusal; always empty after a 101 (those bytes are in `reader`)."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    """Closed already, unless the status is 101."""

    def header(self, name: str) -> str:
        """Return a header of the answer, "" when absent; the first of several."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def error(self) -> ApiError:
        """The refusal as an exception, for callers that can only raise it."""
        return error_from(self.status, self.body, dict(self.headers))


async def open_upgrade(
    endpoint: Endpoint, tls: ssl.SSLContext | None, request: Request, headers: tuple[Headers, Headers]
) -> Upgraded:
    """Send an upgrade request on a new connection and return the answer, whatever its status.

    `headers` are (the caller's, ours); ours win, and what says who asks is never taken from the caller.
    `request.path` is relative to the endpoint's server URL.
    Raises: Unavailable.
    """
    parts = urlsplit(endpoint.server)
    try:
        async with asyncio.timeout(transport.CONNECT_S):
            reader, writer = await _connect(endpoint, tls)
    except TimeoutError as error:
        raise unreachable(endpoint.server, f"no connection within {transport.CONNECT_S:.0f} s") from error
    except OSError as error:
        raise unreachable(endpoint.server, error) from error
    try:
        async with asyncio.timeout(transport.ANSWER_S):
            own = [("Host", parts.netloc.rpartition("@")[2]), ("Connection", "Upgrade"), *headers[1]]
            answer = await _exchange((reader, writer), request, parts.path, _merged(headers[0], own))
    except TimeoutError as error:
        await _close(writer)
        raise unreachable(endpoint.server, f"no answer within {transport.ANSWER_S:.0f} s") from error
    except (OSError, EOFError, asyncio.LimitOverrunError, h11.ProtocolError) as error:
        await _close(writer)
        raise unreachable(endpoint.server, f"no usable answer to the upgrade ({error})") from error
    except BaseException:
        writer.close()
        raise
    if answer.status != 101:
        await _close(writer)
    return answer


def _merged(theirs: Headers, own: Headers) -> Headers:
    taken = {name.lower() for name, _ in own} | {"authorization", "content-length", "transfer-encoding"}
    kept = [
        (name, value)
        for name, value in theirs
        if name.lower() not in taken and not name.lower().startswith("impersonate-")
    ]
    return own + kept


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(endpoint: Endpoint, tls: ssl.SSLContext | None) -> Streams:
    parts = urlsplit(endpoint.server)
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)
    name = (endpoint.tls_server_name or host) if tls else None
    if endpoint.proxy_url:
        reader, writer = await _through_proxy(
            endpoint.proxy_url, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        )
        if tls:
            await writer.start_tls(tls, server_hostname=name)
    else:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname=name, limit=RECEIVE_BUFFER_BYTES
        )
    if sock := writer.get_extra_info("socket"):
        transport.watch_peer(sock)
    return reader, writer


async def _through_proxy(url: str, target: str) -> Streams:
    """Open a tunnel through an HTTP proxy (CONNECT, RFC 9110 §9.3.6)."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=secure or None, limit=RECEIVE_BUFFER_BYTES
    )
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if status != [b"200"]:
            raise ConnectionRefusedError(f"the proxy refused the tunnel: {head.splitlines()[0].decode('latin-1')}")
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def _exchange(streams: Streams, request: Request, prefix: str, headers: Headers) -> Upgraded:
    reader, writer = streams
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    head = h11.Request(method=request.method, target=prefix + request.target, headers=headers)
    writer.write(connection.send(head) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    while True:
        # Exactly the head is taken from the stream, so what follows a 101 stays in it for its reader.
        connection.receive_data(await reader.readuntil(b"\r\n\r\n"))
        event = connection.next_event()
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return Upgraded(101, _headers(event), b"", reader, writer)
        if isinstance(event, h11.Response):
            body = await _refusal(connection, reader)
            return Upgraded(event.status_code, _headers(event), body, reader, writer)
        if not isinstance(event, h11.InformationalResponse):
            raise Unavailable(0, "Unreachable", "the answer to the upgrade cannot be read")


async def _refusal(connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    body = b""
    while len(body) < BODY_BYTES_MAX:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(BODY_BYTES_MAX))
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            break
    return body[:BODY_BYTES_MAX]


def _headers(event: h11.Response | h11.InformationalResponse) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        # The answer is known; how the other side ends the connection does not matter any more.
        writer.transport.abort()
