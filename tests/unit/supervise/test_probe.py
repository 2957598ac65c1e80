"""Readiness probes against real sockets."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

from loft.pki import authority
from loft.supervise import probe


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    line = await reader.readline()
    status = b"200 OK" if b" /good " in line else b"500 Bad"
    writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


def test_tcp_and_unix(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def scenario() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        local = await asyncio.start_unix_server(_answer, path)
        port = server.sockets[0].getsockname()[1]
        assert await probe.tcp("127.0.0.1", port)()
        assert await probe.http("127.0.0.1", port, "/good")()
        assert not await probe.http("127.0.0.1", port, "/bad")()
        assert await probe.unix(path)()
        assert await probe.http_unix(path, "/good")()
        assert not await probe.http_unix(path, "/bad")()
        for one in (server, local):
            one.close()
            await one.wait_closed()
        assert not await probe.tcp("127.0.0.1", port)()
        assert not await probe.unix(path)()
        assert not await probe.http_unix(path, "/good")()

    asyncio.run(scenario())


def test_https_believes_its_authority_only(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ca, other = authority.new_authority("a", now), authority.new_authority("b", now)
    pair = authority.issue(ca, common_name="x", ips=["127.0.0.1"], usage="server", now=now)
    for name, content in [("ca", ca.cert), ("other", other.cert), ("pair", pair.cert + pair.key)]:
        (tmp_path / name).write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pair")

    async def scenario() -> None:
        async with await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            assert await probe.https("127.0.0.1", port, "/good", tmp_path / "ca")()
            assert not await probe.https("127.0.0.1", port, "/bad", tmp_path / "ca")()
            assert not await probe.https("127.0.0.1", port, "/good", tmp_path / "other")()
            assert not await probe.https("127.0.0.1", port, "/good", tmp_path / "missing")()

    asyncio.run(scenario())
