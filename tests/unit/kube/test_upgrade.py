"""Upgrades over real sockets of loopback: where the head ends and the stream begins, refusals, proxies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from loft.kube.client import Client
from loft.kube.config import Endpoint
from loft.kube.errors import Unavailable
from loft.kube.request import Request
from loft.kube.upgrade import Upgraded

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n"


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


async def close(answer: Upgraded) -> None:
    answer.writer.close()
    with contextlib.suppress(OSError):
        await answer.writer.wait_closed()


def exchange(
    handler: Handler, test: Callable[[Client], Awaitable[None]], path: str = "", proxy: Handler | None = None
) -> None:
    async def main() -> None:
        async with asyncio.timeout(10), contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(serving(handler))
            url = f"http://127.0.0.1:{await stack.enter_async_context(serving(proxy))}" if proxy else ""
            endpoint = Endpoint(server=f"http://127.0.0.1:{port}{path}", token="token", proxy_url=url)
            await test(await stack.enter_async_context(Client(endpoint, user_agent="test")))

    asyncio.run(main())


def test_the_stream_begins_right_behind_the_head() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(SWITCH + b"first bytes ")
        writer.write(b"and more:" + await reader.readexactly(5))
        await writer.drain()

    async def test(client: Client) -> None:
        headers = [
            ("Upgrade", "SPDY/3.1"),
            ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
            ("X-Stream-Protocol-Version", "v3.channel.k8s.io"),
            ("authorization", "Bearer forged"),
            ("impersonate-group", "system:masters"),
            ("Host", "elsewhere"),
            ("Content-Length", "10"),
        ]
        answer = await client.upgrade("POST", "/api/v1/pods/a/exec?command=a%20b", headers)
        assert (answer.status, answer.header("upgrade"), answer.body) == (101, "SPDY/3.1", b"")
        answer.writer.write(b"hello")
        assert await answer.reader.read(-1) == b"first bytes and more:hello"
        await close(answer)

    exchange(handler, test, path="/kubernetes/cluster/one")
    line, *headers = heads[0].decode().strip().split("\r\n")
    assert line == "POST /kubernetes/cluster/one/api/v1/pods/a/exec?command=a%20b HTTP/1.1"
    sent = [tuple(header.split(": ", 1)) for header in headers]
    assert [value for name, value in sent if name.lower() == "authorization"] == ["Bearer token"]
    assert [value for name, value in sent if name.lower() == "x-stream-protocol-version"] == [
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
    ]
    names = [name.lower() for name, _ in sent]
    assert names.count("host") == 1 and not [value for _, value in sent if value == "elsewhere"]
    assert "impersonate-group" not in names and "content-length" not in names


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!!more", 403, b"no!!"),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 404, b"abc"),
        (b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\nto the end", 500, b"to the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    ],
)
def test_refusals(answer: bytes, status: int, body: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async def test(client: Client) -> None:
        refused = await client.upgrade("GET", "/", {"Upgrade": "websocket"})
        assert (refused.status, refused.body) == (status, body)
        assert refused.writer.is_closing()

    exchange(handler, test)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101", b"SSH-2.0-OpenSSH\r\n\r\n", b"x" * 400_000])
def test_answers_that_are_none(answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(OSError):
            writer.write(answer)
            await writer.drain()

    async def test(client: Client) -> None:
        with pytest.raises(Unavailable):
            await client.upgrade("GET", "/", {"Upgrade": "websocket"})

    exchange(handler, test)


@pytest.mark.parametrize("evil", [("X-A", "b\r\nX-Forged: 1"), ("X-A\r\nX-Forged: 1", "b"), ("X A", "b")])
def test_headers_cannot_smuggle_others(evil: tuple[str, str]) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(1) == b"", "nothing is sent"

    async def test(client: Client) -> None:
        with pytest.raises(Unavailable):
            await client.upgrade("GET", "/", [("Upgrade", "websocket"), evil])

    exchange(handler, test)


def test_through_a_proxy() -> None:
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH + b"hello")
        await writer.drain()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        host, _, port = asked[0].split(b" ")[1].decode().rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(1000):
                sink.write(data)
            sink.write_eof()

        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        there[1].close()
        await there[1].wait_closed()

    async def test(client: Client) -> None:
        answer = await client.upgrade("GET", "/", {"Upgrade": "SPDY/3.1"})
        assert answer.status == 101
        assert await answer.reader.read(-1) == b"hello"
        await close(answer)

    exchange(handler, test, proxy=proxy)
    assert asked[0].startswith(b"CONNECT 127.0.0.1:")


def test_a_proxy_that_refuses() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("not reached")

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        await writer.drain()

    async def test(client: Client) -> None:
        with pytest.raises(Unavailable, match="407"):
            await client.upgrade("GET", "/", {"Upgrade": "SPDY/3.1"})

    exchange(handler, test, proxy=proxy)


def test_connections_notice_a_peer_that_is_gone() -> None:
    """Calls, watches and upgrades alike: the kernel probes an idle peer, and gives up one that acknowledges nothing."""

    def probes(sock: Any) -> tuple[int, ...]:
        return (
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        )

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH if b"Upgrade" in head else b"HTTP/1.1 200 OK\r\n\r\n{}")
        await writer.drain()
        await reader.read()

    async def test(client: Client) -> None:
        answer = await client.upgrade("GET", "/", {"Upgrade": "SPDY/3.1"})
        assert probes(answer.writer.get_extra_info("socket")) == (1, 15, 10, 3, 45_000)
        await close(answer)
        stream = await client._stream(Request("GET", "/"))
        connection = stream._answer.connection
        assert connection is not None and connection.transport is not None
        assert probes(connection.transport.get_extra_info("socket")) == (1, 15, 10, 3, 45_000)
        stream.close()

    exchange(handler, test)
