"""A centre and an agent, each a real Envoy, in front of an upstream that shows what reached it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from loft.gateway.envoy import listeners
from loft.gateway.envoy.proto import LISTENER
from loft.gateway.gateway import Gateway
from loft.gateway.resources import encode
from loft.gateway.settings import (
    CENTRE_URI,
    ApiServerRoute,
    CentreListener,
    ClusterRoute,
    GatewaySettings,
    VirtualClusterRoute,
)
from loft.identity.directory import Directory
from loft.identity.keys import key_hash
from loft.pki.authority import KeyPair, issue, new_authority

NOW = datetime.now(UTC)
KEY = "a" * 64
OTHER_KEY = "b" * 64
READ_ONLY_KEY = "c" * 64
SLOW_S = 3.0
MASTERS = b"system:masters"


def free_ports(count: int) -> list[int]:
    """Return ports that are free on loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def directory() -> Directory:
    """Ann with three keys, one of them limited to reading."""
    reading = {"rules": [{"verbs": ["get", "list", "watch"]}]}
    keys = [("k1", KEY, None), ("k2", OTHER_KEY, None), ("read", READ_ONLY_KEY, reading)]
    return Directory(
        [{"metadata": {"name": "ann", "uid": "u1"}}],
        [{"metadata": {"name": "dev"}, "spec": {"users": ["ann"]}}],
        [
            {"metadata": {"name": name}, "spec": {"user": "ann", "keyHash": key_hash(key), "scope": scope}}
            for name, key, scope in keys
        ],
    )


class Seen:
    """One request as it reached the upstream."""

    def __init__(self, head: bytes, connection: int, peer: str) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.method, self.path, _ = lines[0].split(" ")
        self.headers = [(line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines[1:] if line]
        self.connection = connection
        self.peer = peer
        """Common name of the client certificate, "" without one."""

    def all(self, name: str) -> list[str]:
        """Values of a header."""
        return [value for key, value in self.headers if key == name]


class Upstream:
    """An API server's place: answers 200 with what it got, accepts upgrades and echoes their bytes.

    A path ending in /refuse refuses an upgrade with 403; one ending in /slow is answered after SLOW_S.
    """

    def __init__(self, certificate: Path, authority: Path) -> None:
        self.requests: list[Seen] = []
        self.bodies: list[bytes] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.load_verify_locations(authority)
        self._tls.verify_mode = ssl.CERT_OPTIONAL
        self._connections = 0
        self.port = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        certificate = writer.get_extra_info("peercert") or {}
        names = dict(pair[0] for pair in certificate.get("subject", ()))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                seen = Seen(await reader.readuntil(b"\r\n\r\n"), number, names.get("commonName", ""))
                self.requests.append(seen)
                if seen.all("upgrade") and not seen.path.partition("?")[0].endswith("/refuse"):
                    await self._upgraded(seen, reader, writer)
                    break
                self.bodies.append(await self._body(seen, reader))
                if seen.path.partition("?")[0].endswith("/slow"):
                    await asyncio.sleep(SLOW_S)
                code = b"403 Forbidden" if seen.all("upgrade") else b"200 OK"
                answer = repr(seen.headers).encode()
                writer.write(b"HTTP/1.1 %s\r\nSet-Cookie: x=y\r\n" % code)
                writer.write(b"Access-Control-Allow-Origin: *\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
                await writer.drain()
        writer.close()

    async def _body(self, seen: Seen, reader: asyncio.StreamReader) -> bytes:
        if seen.all("transfer-encoding") != ["chunked"]:
            return await reader.readexactly(int((seen.all("content-length") or ["0"])[0]))
        body = b""
        while size := int((line := await reader.readline()).split(b";")[0], 16):
            body += line + await reader.readexactly(size + 2)
        while (line := await reader.readline()) not in (b"\r\n", b""):
            body += b"trailer:" + line
        return body

    async def _upgraded(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = seen.all("upgrade")[0].encode()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n" % protocol)
        while data := await reader.read(65536):
            writer.write(b"echo:" + data)
            await writer.drain()


class Loop:
    """An event loop in a thread of its own, so that tests can be plain blocking code."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, job: Coroutine[Any, Any, Any], timeout_s: float = 30.0) -> Any:
        """Run the job there and wait for its result."""
        return asyncio.run_coroutine_threadsafe(job, self.loop).result(timeout_s)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Running:
    """A gateway that runs until closed."""

    def __init__(self, loop: Loop, settings: GatewaySettings, **options: Any) -> None:
        self._loop = loop
        self.settings = settings

        async def make() -> Gateway:
            return Gateway(settings, **options)

        self.gateway: Gateway = loop.run(make())

    def do(self, change: Any) -> None:
        """Call `change(gateway)` in the loop and wait until Envoy has taken it."""

        async def run() -> None:
            change(self.gateway)
            await self.gateway.settled()

        self._loop.run(run())

    def prepare(self, change: Any) -> None:
        """Call `change(gateway)` before it runs."""

        async def run() -> None:
            change(self.gateway)

        self._loop.run(run())

    def start(self) -> None:
        """Run it in the background and wait until it serves."""

        async def begin() -> None:
            self._task = asyncio.create_task(self.gateway.run())
            async with asyncio.timeout(20):
                await self.gateway.ready()

        self._loop.run(begin())
        assert self.gateway.rejected() == []

    def close(self) -> None:
        """Stop it and wait until Envoy has ended."""

        async def end() -> None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

        self._loop.run(end())

    def people(self) -> dict[str, Any]:
        """Return the configuration of the listener for people, to be changed."""
        built = listeners.people(self.settings)
        copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(built[LISTENER, "people"]))
        return copied

    def replace_people(self, listener: dict[str, Any]) -> None:
        """Put a changed listener in force, as a wrong configuration would be."""
        self.do(lambda gateway: gateway._discovery.change({(LISTENER, "people"): encode(LISTENER, listener)}))
        assert self.gateway.rejected() == []
        time.sleep(0.5)  # the workers switch over


def manager_of(listener: dict[str, Any]) -> dict[str, Any]:
    """Return the HTTP connection manager of a listener."""
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def filters_of(listener: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the configuration of each HTTP filter of a listener."""
    return {entry["name"]: entry["typed_config"] for entry in manager_of(listener)["http_filters"]}


class Certificates:
    """One authority and what it issued, as PEM and as files."""

    def __init__(self, directory: Path) -> None:
        self.ca = new_authority("test", NOW)
        self.server = self.make("server", ips=["127.0.0.1"], dns=["localhost"], usage="server")
        self.centre = self.make("centre", uris=[CENTRE_URI], usage="client")
        self.gateway = self.make("loft:gateway", usage="client")
        self.stranger = self.make("stranger", uris=["spiffe://loft/centre2"], usage="client")
        self.authority_file = directory / "ca.pem"
        self.authority_file.write_bytes(self.ca.cert)
        self.directory = directory

    def make(self, name: str, **fields: Any) -> Any:
        return issue(self.ca, common_name=name, now=NOW, **fields)

    def file(self, pair: Any) -> Path:
        path = self.directory / f"{uuid.uuid4()}.pem"
        path.write_bytes(pair.cert + pair.key)
        return path


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """The API server behind the agent; also used as the API server of its virtual clusters."""

    address: str
    ca: bytes
    gateway: KeyPair
    """Client certificate that may only impersonate there."""
    token: str
    """Of a ServiceAccount that may only impersonate."""


class Bed:
    """The two gateways, in front of the given API server or of the upstream that shows what reached it."""

    def __init__(self, directory: Path, behind: Behind | None = None) -> None:
        self.directory = directory
        self.loop = Loop()
        self.certificates = Certificates(directory)
        self.upstream = Upstream(self.certificates.file(self.certificates.server), self.certificates.authority_file)
        self._server = self.loop.run(self.upstream.start())
        made = self.certificates
        self.behind = behind or Behind(
            address=f"127.0.0.1:{self.upstream.port}", ca=made.ca.cert, gateway=made.gateway, token="impersonator-token"
        )
        self.may_get = True
        self.asked: list[tuple[str, str, str]] = []
        ports = free_ports(5)
        self.agent = self._agent(ports[:3])
        self.centre = self._centre(ports[3:], ports[2])

    async def _may_get(self, identity: Any, namespace: str, name: str) -> bool:
        self.asked.append((identity.user, namespace, name))
        return self.may_get

    def _agent(self, ports: list[int]) -> Running:
        settings = GatewaySettings(
            role="agent",
            directory=self.directory / "agent",
            cluster="east",
            address="127.0.0.1",
            tls_port=ports[0],
            plain_port=ports[1],
            centre_port=ports[2],
            audit_log=self.directory / "agent-audit.log",
            envoy_log=self.directory / "agent-envoy.log",
            worker_threads=1,
        )
        running = Running(self.loop, settings, can_get_virtual_cluster=self._may_get)
        running.prepare(self.fill_agent)
        running.start()
        return running

    def fill_agent(self, gateway: Gateway) -> None:
        """Give an agent's gateway all it needs."""
        made, behind = self.certificates, self.behind
        gateway.set_directory(directory())
        gateway.set_serving_certificate(made.server)
        gateway.set_centre_listener(CentreListener(serving=made.server, client_ca=made.ca.cert))
        gateway.set_api_server(ApiServerRoute(address=behind.address, ca=behind.ca))
        gateway.set_impersonator_token(behind.token)
        inner = VirtualClusterRoute(
            namespace="space", name="vc", address=behind.address, ca=behind.ca, client=behind.gateway
        )
        closed = msgspec.structs.replace(inner, name="closed", allow_service_accounts=False)
        self.agent_routes = [inner, closed]
        gateway.set_virtual_clusters(self.agent_routes)

    def _centre(self, ports: list[int], agent_port: int) -> Running:
        made = self.certificates
        settings = GatewaySettings(
            role="centre",
            directory=self.directory / "centre",
            address="127.0.0.1",
            tls_port=ports[0],
            plain_port=ports[1],
            audit_log=self.directory / "centre-audit.log",
            envoy_log=self.directory / "centre-envoy.log",
            worker_threads=1,
        )
        dead = f"127.0.0.1:{free_ports(1)[0]}"
        self.centre_routes = [
            ClusterRoute(name="east", endpoint=f"127.0.0.1:{agent_port}", ca=made.ca.cert, client=made.centre),
            ClusterRoute(name="dead", endpoint=dead, ca=made.ca.cert, client=made.centre),
            ClusterRoute(name="new", endpoint=""),
        ]

        def fill(gateway: Gateway) -> None:
            gateway.set_directory(directory())
            gateway.set_serving_certificate(made.server)
            gateway.set_clusters(self.centre_routes)
            gateway.set_management(
                ApiServerRoute(address=f"127.0.0.1:{self.upstream.port}", ca=made.ca.cert, client=made.gateway)
            )

        running = Running(self.loop, settings)
        running.prepare(fill)
        running.start()
        return running

    def close(self) -> None:
        self.centre.close()
        self.agent.close()

        async def stop() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.loop.run(stop())
        self.loop.close()

    def side(self, role: str) -> Side:
        """Return the view of a client that talks to the centre or to the agent directly."""
        if role == "centre":
            return Side(self, self.centre, "/kubernetes/cluster/east", "/kubernetes/virtualcluster/east/space")
        return Side(self, self.agent, "/kubernetes/cluster", "/kubernetes/virtualcluster/space")


class Answer:
    """An HTTP/1.1 answer."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.head, _, self.body = data.partition(b"\r\n\r\n")
        self.code = int(data[9:12]) if data.startswith(b"HTTP/1.") else 0


class Side:
    """Sends raw requests to one gateway."""

    def __init__(self, bed: Bed, running: Running, cluster: str, virtual: str) -> None:
        self.bed = bed
        self.running = running
        self.cluster = cluster
        self.virtual = virtual

    def connect(self, *, port: int = 0, alpn: str = "http/1.1", certificate: Path | None = None) -> ssl.SSLSocket:
        """Open a TLS connection."""
        context = ssl.create_default_context(cafile=str(self.bed.certificates.authority_file))
        context.set_alpn_protocols([alpn])
        if certificate is not None:
            context.load_cert_chain(certificate)
        plain = socket.create_connection(("127.0.0.1", port or self.running.settings.tls_port), timeout=5)
        try:
            return context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def raw(self, data: bytes, *, port: int = 0, certificate: Path | None = None) -> Answer:
        """Send bytes, then read one answer (or until the gateway closes)."""
        with self.connect(port=port, certificate=certificate) as connection:
            connection.sendall(data)
            return read_answer(connection)

    def send(self, *lines: str | bytes, path: str = "/api/v1/pods", method: str = "GET", key: str = KEY) -> Answer:
        """Send a request for a path of the cluster with these header lines added."""
        head = [f"{method} {self.cluster}{path} HTTP/1.1", "Host: localhost"]
        if key:
            head.append(f"Authorization: Bearer {key}")
        encoded = [line if isinstance(line, bytes) else line.encode() for line in (*head, *lines)]
        return self.raw(b"\r\n".join(encoded) + b"\r\n\r\n")

    def marked(self) -> str:
        """Return a query that is found again at the upstream."""
        return f"mark={uuid.uuid4()}"

    def reached(self, mark: str) -> list[Seen]:
        """Return the requests that reached the upstream with that query."""
        return [seen for seen in self.bed.upstream.requests if mark in seen.path]


def read_answer(connection: ssl.SSLSocket) -> Answer:
    """Read one answer with its body; an empty one when the peer just closes."""
    data = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in data and (more := connection.recv(65536)):
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length and (more := connection.recv(65536)):
            body += more
            data += more
    return Answer(data)
