"""The HTTP/1.1 server: every request on a connection is parsed, streams are handed over whole, input is bounded."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from loft.hypervisor.http1 import Exchange, accept
from loft.hypervisor.splice import splice

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(handler: Callable[[Exchange], Awaitable[None]], client: Client) -> None:
    async def main() -> None:
        server = await asyncio.start_server(accept(handler), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            async with asyncio.timeout(5):
                await client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)

    asyncio.run(main())


async def echo(exchange: Exchange) -> None:
    body = await exchange.body(10)
    await exchange.respond(200, f"{exchange.request.method} {exchange.request.path} ".encode() + body)


def test_requests_on_one_connection_are_answered_one_after_the_other() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(3):
            writer.write(f"POST /a%20{at}?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(12) == f"POST /a {at} hi".encode()

    talk(echo, client)


def test_what_is_not_http_gets_400_and_the_end() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")

    talk(echo, client)


def test_a_head_without_end_is_cut_off() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 200_000)
        # What was not read any more makes the kernel reset the connection, which may overtake the answer.
        with contextlib.suppress(ConnectionResetError):
            assert (await reader.read()).startswith(b"HTTP/1.1 431")

    talk(echo, client)


def test_an_upgrade_hands_over_bytes_that_came_with_the_request() -> None:
    async def handler(exchange: Exchange) -> None:
        reader, writer, early = await exchange.upgrade([(b"connection", b"Upgrade"), (b"upgrade", b"SPDY/3.1")])
        data = early
        while len(data) < 8:
            data += await reader.read(100)
        writer.write(b"got " + data)
        await writer.drain()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nearl")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(b"late")
        assert await reader.read() == b"got earllate"

    talk(handler, client)


def test_a_reader_that_leaves_a_silent_answer_is_noticed() -> None:
    noticed = []

    async def handler(exchange: Exchange) -> None:
        await exchange.begin(200, "text/plain")
        await exchange.left()
        noticed.append(True)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        while not noticed:
            await asyncio.sleep(0.01)

    talk(handler, client)


def test_a_request_sent_before_the_end_of_an_answer_is_not_lost() -> None:
    async def handler(exchange: Exchange) -> None:
        if exchange.request.path == "/second":
            await exchange.respond(200, b"second")
            return
        await exchange.begin(200, "text/plain")
        left = asyncio.ensure_future(exchange.left())
        await asyncio.sleep(0.1)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        await exchange.end()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /first HTTP/1.1\r\nHost: h\r\n\r\nGET /sec")
        await asyncio.sleep(0.05)
        writer.write(b"ond HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"0\r\n\r\n")
        await reader.readuntil(b"second")

    talk(handler, client)


def test_half_close_lets_the_other_direction_finish() -> None:
    async def main() -> None:
        async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = await reader.read()
            writer.write(b"answer to " + asked)
            await writer.drain()
            writer.close()

        far_server = await asyncio.start_server(far, "127.0.0.1", 0)

        async def middle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            other = await asyncio.open_connection(*far_server.sockets[0].getsockname())
            await splice((reader, writer), other)

        near = await asyncio.start_server(middle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*near.sockets[0].getsockname())
        writer.write(b"question")
        writer.write_eof()
        async with asyncio.timeout(5):
            assert await reader.read() == b"answer to question"
        writer.close()
        await writer.wait_closed()
        for server in (near, far_server):
            server.close()
            await server.wait_closed()
        await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_slow_reader_stops_the_writer() -> None:
    """Carrying 64 MiB to somebody who does not read must not fill memory with it."""

    async def main() -> None:
        sent = 0
        over = asyncio.Event()

        async def far(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            chunk = b"x" * 65536
            try:
                while sent < 64 << 20:
                    writer.write(chunk)
                    await writer.drain()
                    sent += len(chunk)
            except OSError:
                return
            finally:
                writer.close()

        far_server = await asyncio.start_server(far, "127.0.0.1", 0)

        async def middle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            other = await asyncio.open_connection(*far_server.sockets[0].getsockname())
            await splice((reader, writer), other)
            over.set()

        near = await asyncio.start_server(middle, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*near.sockets[0].getsockname(), limit=1024)
        await asyncio.sleep(0.5)
        assert sent < 32 << 20
        writer.transport.abort()
        async with asyncio.timeout(5):
            await over.wait()
        for server in (near, far_server):
            server.close()
            await server.wait_closed()
        await asyncio.sleep(0.05)

    asyncio.run(main())
