"""Trust over real TLS connections on loopback: whose certificate is believed, and changes while serving."""

import asyncio
import socket
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loft.apiserver.listener import AUTHORITY, open_socket, serve
from loft.apiserver.trust import Authority, Trust, requestheader_authority
from loft.pki.authority import KeyPair, fingerprint, issue, new_authority

NOW = datetime.now(UTC)
SERVER_CA = new_authority("server-ca", NOW)
PROXY_CA = new_authority("proxy-ca", NOW)
OTHER_CA = new_authority("other-ca", NOW)


def serving(name: str) -> KeyPair:
    return issue(SERVER_CA, common_name=name, dns=("localhost",), usage="server", now=NOW)


def proxy(ca: KeyPair, name: str = "proxy") -> KeyPair:
    return issue(ca, common_name=name, usage="client", now=NOW)


class WhoAsks:
    """An application that answers with the authority of the connection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        authority = scope["state"][AUTHORITY]
        name = authority.name.encode() if authority else b"nobody"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(name))]})
        await send({"type": "http.response.body", "body": name})

    def stop(self) -> None:
        pass


async def ask(port: int, certificate: KeyPair | None) -> tuple[str, str]:
    """Return (authority, fingerprint of the server's certificate)."""
    context = ssl.create_default_context(cadata=SERVER_CA.cert.decode())
    if certificate:
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate.cert + certificate.key)
            file.flush()
            context.load_cert_chain(file.name)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        seen = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        await writer.wait_closed()
    if not answer:  # with TLS 1.3 a refused client learns of it after its handshake
        raise ConnectionResetError("the server ended the connection")
    return answer.split(b"\r\n\r\n")[1].decode(), fingerprint(ssl.DER_cert_to_PEM_cert(seen).encode())


def test_authorities_and_certificates_may_change_while_serving() -> None:
    async def scene() -> None:
        first, second = serving("first"), serving("second")
        trust = Trust(first, (Authority(name="gateway", ca=PROXY_CA.cert, allowed_names=("proxy",)),))
        listening = open_socket("127.0.0.1", 0)
        port = listening.getsockname()[1]
        task = asyncio.create_task(serve(WhoAsks(), listening, trust))
        await asyncio.sleep(0.1)
        try:
            assert await ask(port, None) == ("nobody", fingerprint(first.cert))
            assert (await ask(port, proxy(PROXY_CA)))[0] == "gateway"
            assert (await ask(port, proxy(PROXY_CA, "other")))[0] == "nobody"
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await ask(port, proxy(OTHER_CA))
            assert not trust.knows("front")
            trust.set_authority(Authority(name="front", ca=OTHER_CA.cert))
            trust.set_certificate(second)
            assert trust.knows("front")
            assert await ask(port, proxy(OTHER_CA, "any")) == ("front", fingerprint(second.cert))
            # A CA that is replaced is not believed any more.
            trust.set_authority(Authority(name="front", ca=new_authority("new", NOW).cert))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await ask(port, proxy(OTHER_CA, "any"))
            with pytest.raises(ValueError, match="cannot be used"):
                trust.set_certificate(KeyPair(cert=first.cert, key=second.key))
            with pytest.raises(ValueError, match="cannot be used"):
                trust.set_authority(Authority(name="front", ca=b"nonsense"))
            assert (await ask(port, proxy(PROXY_CA)))[0] == "gateway"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())


def test_an_expired_certificate_is_refused() -> None:
    async def scene() -> None:
        trust = Trust(serving("s"), (Authority(name="gateway", ca=PROXY_CA.cert),))
        listening = open_socket("127.0.0.1", 0)
        task = asyncio.create_task(serve(WhoAsks(), listening, trust))
        await asyncio.sleep(0.1)
        try:
            past = NOW - timedelta(days=2)
            ca = new_authority("proxy-ca", past)
            trust.set_authority(Authority(name="gateway", ca=ca.cert))
            expired = issue(ca, common_name="proxy", usage="client", now=past, days=1)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await ask(listening.getsockname()[1], expired)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())


def test_an_occupied_address_is_named() -> None:
    with open_socket("127.0.0.1", 0) as taken, pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1"):
        open_socket("127.0.0.1", taken.getsockname()[1])


def test_the_aggregation_layer_says_how_it_proves_itself() -> None:
    authority = requestheader_authority(
        {
            "requestheader-client-ca-file": PROXY_CA.cert.decode(),
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }
    )
    assert (authority.name, authority.allowed_names) == ("requestheader", ("front-proxy-client",))
    assert authority.headers.user == ("x-remote-user",) and authority.headers.uid == ()
    assert not authority.ours_only
    with pytest.raises(ValueError, match="aggregation layer"):
        requestheader_authority({})


def test_accepted_connections_do_not_wait_to_fill_packets() -> None:
    """An answer goes out in two writes; with Nagle's algorithm the second waits 40 ms for an acknowledgement."""

    async def scene() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                sock = transport.get_extra_info("socket")
                accepted.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        listening = open_socket("127.0.0.1", 0)
        server = await asyncio.get_running_loop().create_server(Protocol, sock=listening)
        async with server:
            _, writer = await asyncio.open_connection(*listening.getsockname())
            try:
                return await asyncio.wait_for(accepted, 5)
            finally:
                writer.close()
                await writer.wait_closed()

    assert asyncio.run(scene()) != 0
