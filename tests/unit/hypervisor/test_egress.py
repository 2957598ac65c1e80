"""The egress proxy on a real unix socket."""

import asyncio
import gc
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loft.hypervisor import egress, http1
from loft.hypervisor.certificates import new_authorities, webhook_pair
from loft.hypervisor.egress import Egress, Ways
from loft.hypervisor.egress_rules import Known, Target
from loft.hypervisor.http1 import Connection, Exchange
from loft.hypervisor.serving import server_context
from loft.hypervisor.splice import Stream

DATA = new_authorities("dev", datetime.now(UTC))


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, b"hello " + await exchange.body(1000))


async def over_tls(_: Target, stream: Stream) -> None:
    await stream[1].start_tls(server_context(webhook_pair(DATA, datetime.now(UTC), 1)))
    await Connection(*stream).serve(hello)


async def unused(_: Target, stream: Stream) -> None:
    raise AssertionError("no node was asked for")


def with_proxy(
    tmp_path: Path, known: Callable[[str], Known], client: Callable[[Path], Awaitable[None]]
) -> dict[str, int]:
    proxy = Egress(tmp_path / "egress.sock", Ways(known, unused, over_tls, unused))

    async def main() -> None:
        running = asyncio.ensure_future(proxy.run())
        while not (tmp_path / "egress.sock").exists():
            await asyncio.sleep(0.01)
        try:
            async with asyncio.timeout(10):
                await client(tmp_path / "egress.sock")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.sleep(0.05)

    asyncio.run(main())
    return proxy.counts


async def connect(path: Path, target: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return await reader.readuntil(b"\r\n\r\n"), reader, writer


def test_an_address_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    async def client(path: Path) -> None:
        for target in ("169.254.169.254:80", "example.com:443", "10.0.0.1:6443", "127.0.0.1:22"):
            head, reader, writer = await connect(path, target)
            assert head.startswith(b"HTTP/1.1 403"), target
            assert await reader.read() == b""
            writer.close()

    counts = with_proxy(tmp_path, lambda _: Known(), client)
    assert counts["refused"] == 4


def test_the_webhook_is_served_in_the_process(tmp_path: Path) -> None:
    async def client(path: Path) -> None:
        head, reader, writer = await connect(path, "127.0.0.1:10251")
        assert head.startswith(b"HTTP/1.1 200")
        context = ssl.create_default_context(cadata=DATA["webhook-ca.crt"].decode())
        await writer.start_tls(context, server_hostname="127.0.0.1")
        for _ in range(2):
            writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
            answer = await reader.readuntil(b"hello abc")
            assert answer.startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()

    counts = with_proxy(tmp_path, lambda _: Known(), client)
    assert counts["webhook"] == 1


def test_a_head_without_end_is_not_waited_for_in_memory(tmp_path: Path) -> None:
    async def client(path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nX: " + b"a" * 100_000)
        assert (await reader.read()).startswith(b"HTTP/1.1 403")
        writer.close()

    with_proxy(tmp_path, lambda _: Known(), client)


def test_a_conversation_whose_other_side_is_silent_is_no_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio knows tasks and readers weakly: what nobody holds is closed by the collector, inside another task.

    The time limit in its clean-up would then be that task's, which is cancelled seconds later for no reason.
    """
    monkeypatch.setattr(http1, "CLOSE_S", 0.1)
    monkeypatch.setattr(egress, "route", lambda *_, **__: "dial")
    far: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far.append(writer)
        await reader.read()

    async def innocent() -> None:
        gc.collect()
        await asyncio.sleep(0.5)

    async def client(path: Path) -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            head, _, writer = await connect(path, f"127.0.0.1:{port}")
            assert head.startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.1)
            task = asyncio.create_task(innocent())
            await asyncio.wait([task])
            assert not task.cancelled()
            far[0].close()
            await asyncio.sleep(0.1)

    assert with_proxy(tmp_path, lambda _: Known(is_pod=True), client)["dial"] == 1
    assert not http1.conversations
