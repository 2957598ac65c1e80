"""The kubelet of the virtual nodes: logs, exec, attach and port-forward, carried to the host's API server.

The virtual API server calls it by the kubelet API after its own authentication, authorisation and admission, and
proves itself by its client certificate. Names are translated; the streams themselves (SPDY/3.1 or WebSocket) are
spliced as they are. A kept-alive connection brings request after request, and every one of them is parsed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.texts import virtual_text
from loft.hypervisor.egress_rules import Target
from loft.hypervisor.http1 import Connection, Exchange, close
from loft.hypervisor.kubelet_routes import NodeCall, PodCall, Unsupported, host_target, parse
from loft.hypervisor.metrics import HostMetrics
from loft.hypervisor.metrics_plan import Measured, summary
from loft.hypervisor.neighbours import Neighbours
from loft.hypervisor.serving import Peer, peer, secured
from loft.hypervisor.splice import Stream, splice
from loft.kube.client import Client
from loft.kube.errors import ApiError
from loft.kube.request import Request

log = logging.getLogger(__name__)

UPGRADE_HEADERS = (
    "Upgrade",
    "X-Stream-Protocol-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
)
ANSWER_HEADERS = ("upgrade", "x-stream-protocol-version", "sec-websocket-accept", "sec-websocket-protocol")
PROTOCOLS = ("spdy/3.1", "websocket")

MayCall = Callable[[Peer], Awaitable[bool]]
"""Whether the holder of a client certificate may use the kubelet API."""


class Kubelet:
    """Serves the kubelet API of all virtual nodes on connections that the egress proxy hands over."""

    def __init__(
        self,
        host: Client,
        neighbours: Neighbours,
        metrics: HostMetrics,
        *,
        context: Callable[[str], ssl.SSLContext],
        client_name: str = "",
        may_call: MayCall | None = None,
    ) -> None:
        """Return the kubelet.

        Args:
            context: returns the TLS context of a node address, which asks for a client's certificate.
            client_name: who alone may call.
            may_call: decides about the holder of a client's certificate, where that depends.
        """
        self._host = host
        self._neighbours = neighbours
        self._names = neighbours.names
        self._metrics = metrics
        self._context = context
        self._client_name = client_name
        self._may_call = may_call

    async def serve(self, target: Target, stream: Stream) -> None:
        """Serve one connection to the node with this address until it ends."""
        what = f"kubelet connection for {target.address}"
        if not await secured(stream, self._context(target.address), what, client_name=self._client_name):
            return
        if self._may_call and not await self._may_call(peer(stream[1].get_extra_info("ssl_object"))):
            log.warning("%s: its caller may not", what)
            return

        async def handle(exchange: Exchange) -> None:
            await self._handle(target.address, exchange)

        await Connection(*stream).serve(handle)

    async def _handle(self, address: str, exchange: Exchange) -> None:
        request = exchange.request
        try:
            call = parse(request.method, request.path, request.query)
        except Unsupported as error:
            await exchange.respond(error.status, f"not supported: {error}".encode())
            return
        if isinstance(call, NodeCall):
            await self._node(call, address, exchange)
            return
        found = self._neighbours.host_pod(call.namespace, call.pod, call.uid)
        if found is None:
            await exchange.respond(404, f"pod {call.namespace}/{call.pod} is not running on this node".encode())
        elif call.action == "log":
            await self._logs(call, found, exchange)
        else:
            await self._stream(call, found, exchange)

    async def _node(self, call: NodeCall, address: str, exchange: Exchange) -> None:
        if call.what == "healthz":
            await exchange.respond(200, b"ok")
            return
        pods = self._neighbours.pods_on(address)
        if call.what == "pods":
            body: Object = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}
        else:
            body = summary(self._neighbours.node_at(address), pods, await self._measured())
        await exchange.respond(200, msgspec.json.encode(body), "application/json")

    async def _measured(self) -> list[Measured]:
        """Return the host's figures of pods, none while it gives none: which pods there are is known all the same."""
        try:
            return await self._metrics.pods()
        except ApiError as error:
            log.info("the host's metrics cannot be read: %s", error)
            return []

    async def _logs(self, call: PodCall, found: tuple[Object, Object], exchange: Exchange) -> None:
        target = host_target(call, self._names.host_namespace, objects.name(found[1]))
        path, _, query = target.partition("?")
        # The query is encoded already; a Request would encode it again.
        chunks = self._host.stream(Request("GET", f"{path}?{query}" if query else path, accept="*/*"))
        async with contextlib.aclosing(chunks), _until_left(exchange) as left:
            try:
                first = await _next_or_left(chunks, left)
            except ApiError as error:
                await exchange.respond(error.status or 502, self._text(error.message, found))
                return
            await exchange.begin(200, "text/plain")
            while first is not None:
                if first:
                    await exchange.send_part(first)
                try:
                    first = await _next_or_left(chunks, left)
                except ApiError as error:
                    log.info("logs of %s/%s broke off: %s", call.namespace, call.pod, error)
                    raise ConnectionAbortedError(str(error)) from error
            await exchange.end()

    async def _stream(self, call: PodCall, found: tuple[Object, Object], exchange: Exchange) -> None:
        request = exchange.request
        if request.header("upgrade").lower() not in PROTOCOLS:
            await exchange.respond(400, b"an upgrade to SPDY/3.1 or WebSocket is needed")
            return
        headers = [(name, value) for name in UPGRADE_HEADERS for value in request.all(name)]
        target = host_target(call, self._names.host_namespace, objects.name(found[1]))
        try:
            answer = await self._host.upgrade(request.method, target, headers)
        except ApiError as error:
            await exchange.respond(502, self._text(error.message, found))
            return
        if answer.status != 101:
            await exchange.respond(answer.status, self._text(answer.error.message, found))
            return
        try:
            kept = [(name.encode(), value.encode()) for name, value in answer.headers if name.lower() in ANSWER_HEADERS]
            reader, writer, early = await exchange.upgrade([(b"connection", b"Upgrade"), *kept])
            answer.writer.write(early)
            await splice((reader, writer), (answer.reader, answer.writer))
        finally:
            await close(answer.writer)

    def _text(self, message: str, found: tuple[Object, Object]) -> bytes:
        virtual, host = found
        return virtual_text(message, host, virtual, self._names).encode()


@contextlib.asynccontextmanager
async def _until_left(exchange: Exchange) -> AsyncIterator[asyncio.Future[None]]:
    left = asyncio.ensure_future(exchange.left())
    try:
        yield left
    finally:
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)


async def _next_or_left(chunks: AsyncIterator[bytes], left: asyncio.Future[None]) -> bytes | None:
    """Return the next chunk, None at the end. Raises: ConnectionAbortedError when the reader left, ApiError."""

    async def following() -> bytes | None:
        return await anext(chunks, None)

    chunk = asyncio.ensure_future(following())
    try:
        waited: list[asyncio.Future[Any]] = [chunk, left]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if chunk.done():
            return chunk.result()
        raise ConnectionAbortedError("the reader of the logs left")
    finally:
        if not chunk.done():
            chunk.cancel()
            await asyncio.gather(chunk, return_exceptions=True)
