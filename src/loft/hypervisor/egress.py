"""The one way out of the virtual API server: an HTTP CONNECT proxy on a unix socket (egress selector).

The API server is told to use it for nodes, pods, services and webhooks (`cluster`) and for everything else it would
dial (`controlplane`). Node, webhook and metrics connections end here, in this process: none listens on any network.
Source: kubernetes.io/docs/tasks/extend-kubernetes/setup-konnectivity (egress selector configuration), KEP-1281.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from loft.hypervisor.egress_rules import Known, Refused, Target, Way, parse_target, route
from loft.hypervisor.http1 import close, held
from loft.hypervisor.splice import Stream, splice

log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 8 * 1024
HEAD_S = 10.0
CONNECT_S = 10.0
CONNECTIONS_MAX = 2048

Serve = Callable[[Target, Stream], Awaitable[None]]


class Ways(msgspec.Struct, frozen=True):
    """How each kind of target is served, and what is known about addresses."""

    known: Callable[[str], Known]
    kubelet: Serve
    webhook: Serve
    metrics: Serve
    kubelet_port: int = 10250
    webhook_port: int = 10251
    metrics_port: int = 10252


class Egress:
    """The proxy."""

    def __init__(self, socket: Path, ways: Ways) -> None:
        self._socket = socket
        self._ways = ways
        self._open = 0
        results = ("kubelet", "webhook", "metrics", "dial", "refused", "failed")
        self.counts: dict[str, int] = dict.fromkeys(results, 0)
        """Connections so far, by what became of them; for metrics."""

    async def run(self) -> None:
        """Serve until cancelled. The socket may be used by the group of the pod only."""
        self._socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(held(self._accept), self._socket, limit=HEAD_BYTES_MAX)
        self._socket.chmod(0o660)
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS_MAX:
                await _answer(writer, 503, "too many connections")
            else:
                await self._serve((reader, writer))
        except (OSError, TimeoutError, EOFError) as error:
            log.debug("egress: %s", error)
        finally:
            self._open -= 1
            await close(writer)

    async def _serve(self, stream: Stream) -> None:
        reader, writer = stream
        authority = await _connect_target(reader)
        try:
            target = parse_target(authority)
            way = route(
                target,
                self._ways.known(target.address),
                kubelet_port=self._ways.kubelet_port,
                webhook_port=self._ways.webhook_port,
                metrics_port=self._ways.metrics_port,
            )
        except Refused as refused:
            self.counts["refused"] += 1
            log.warning("egress to %.200s refused: %s", authority, refused)
            await _answer(writer, 403, str(refused))
            return
        self.counts[way] += 1
        await self._go(way, target, stream)

    async def _go(self, way: Way, target: Target, stream: Stream) -> None:
        if way == "dial":
            await self._dial(target, stream)
            return
        await _answer(stream[1], 200, "Connection established")
        serve = {"kubelet": self._ways.kubelet, "webhook": self._ways.webhook, "metrics": self._ways.metrics}[way]
        await serve(target, stream)

    async def _dial(self, target: Target, stream: Stream) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                far = await asyncio.open_connection(target.address, target.port)
        except (OSError, TimeoutError) as error:
            self.counts["failed"] += 1
            await _answer(
                stream[1], 502, f"no connection to {target.address} port {target.port}: {error or 'time-out'}"
            )
            return
        await _answer(stream[1], 200, "Connection established")
        await splice(stream, far)


async def _connect_target(reader: asyncio.StreamReader) -> str:
    """Read the head of a CONNECT request; return its target ("" when it is no CONNECT)."""
    async with asyncio.timeout(HEAD_S):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return ""
    parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    return parts[1] if len(parts) == 3 and parts[0] == "CONNECT" else ""


async def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    words = " ".join(text.split())[:200]
    ending = "" if status == 200 else "Content-Length: 0\r\n"
    writer.write(f"HTTP/1.1 {status} {words}\r\n{ending}\r\n".encode("latin-1", "replace"))
    await writer.drain()
