"""HTTP/1.1 upgrades as raw byte streams: exec, attach and port-forward speak SPDY/3.1 or WebSocket after a 101.

We never speak those protocols, we only carry them, so the connection is opened here by hand and handed
over after the answer's head. Source: RFC 9110 section 7.8.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import h11
import msgspec

from loft.kube.config import Endpoint
from loft.kube.errors import Unavailable

CONNECT_S = 10.0
ANSWER_S = 60.0
BODY_BYTES_MAX = 64 * 1024


class Upgraded(msgspec.Struct):
    """An answer to an upgrade; with status 101 the streams are the caller's, who must close the writer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    """Body of a refusal; after a 101 the bytes that came with the head already."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> str:
        """Return a header of the answer, "" when absent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


async def open_upgrade(endpoint: Endpoint, tls: ssl.SSLContext | None, line: str, headers: dict[str, str]) -> Upgraded:
    """Send an upgrade request on a new connection and return the answer.

    Args:
        endpoint: where to.
        tls: None for plain HTTP.
        line: method and target.
        headers: sent as they are, Host and Connection are added.

    Raises: Unavailable.
    """
    parts = urlsplit(endpoint.server)
    port = parts.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                parts.hostname,
                port,
                ssl=tls,
                server_hostname=(endpoint.tls_server_name or parts.hostname) if tls else None,
            )
    except (TimeoutError, OSError) as error:
        raise Unavailable(0, "Unreachable", f"{endpoint.server} cannot be reached: {error}") from error
    try:
        async with asyncio.timeout(ANSWER_S):
            return await _exchange(reader, writer, line, {"Host": parts.netloc, "Connection": "Upgrade"} | headers)
    except (TimeoutError, OSError, h11.RemoteProtocolError) as error:
        writer.close()
        raise Unavailable(0, "Unreachable", f"{endpoint.server} did not answer the upgrade: {error}") from error
    except BaseException:
        writer.close()
        raise


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, headers: dict[str, str]
) -> Upgraded:
    method, target = line.split(" ", 1)
    connection = h11.Connection(h11.CLIENT)
    head = connection.send(h11.Request(method=method, target=target, headers=list(headers.items())))
    writer.write(head or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    body = b""
    answer: h11.Response | h11.InformationalResponse | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            rest, _ = connection.trailing_data
            return Upgraded(101, _headers(event), rest, reader, writer)
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            body = (body + bytes(event.data))[:BODY_BYTES_MAX]
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            writer.close()
            if answer is None:
                raise Unavailable(0, "Unreachable", "the connection was closed without an answer")
            return Upgraded(answer.status_code, _headers(answer), body, reader, writer)


def _headers(event: h11.Response | h11.InformationalResponse) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
