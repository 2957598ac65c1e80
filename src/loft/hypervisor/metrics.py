"""Serves `metrics.k8s.io` to the virtual API server, from the host's figures of this virtual cluster's own objects.

Asked on connections that the egress proxy hands over, by the API server's front-proxy certificate alone: who may read
what is decided there, before it asks.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

import msgspec

from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.egress_rules import Target
from loft.hypervisor.http1 import Connection, Exchange
from loft.hypervisor.kinds.node import is_ours
from loft.hypervisor.metrics_plan import (
    NODEMETRICS,
    PODMETRICS,
    ROOT,
    Measured,
    Unsupported,
    answer,
    discovery,
    group_objects,
    parse,
)
from loft.hypervisor.serving import secured
from loft.hypervisor.splice import Stream
from loft.hypervisor.sync_world import World
from loft.kube.client import Client
from loft.kube.errors import ApiError
from loft.kube.request import Request

log = logging.getLogger(__name__)

FRESH_S = 2.0
"""Figures are this old at most; the host measures every 15 s, and tenants may ask as often as they like."""
LOOK_S = 30.0


class HostMetrics:
    """The host's figures, with the virtual objects they belong to."""

    def __init__(self, host: Client, world: World) -> None:
        self._host = host
        self._world = world
        self._lock = asyncio.Lock()
        self._known: dict[str, tuple[float, list[Object]]] = {}

    @property
    def has_nodes(self) -> bool:
        """Whether figures of nodes may be read."""
        return self._world.settings.host_nodes

    async def pods(self) -> list[Measured]:
        """Return the figures of all Pods that have some. Raises: ApiError."""
        names = self._world.names
        if "Pod" not in self._world.host:
            return []
        found = []
        for figures in await self._read("pods"):
            host = self._world.host["Pod"].get(f"{names.host_namespace}/{objects.name(figures)}")
            virtual = self._world.find_virtual("Pod", host) if host else None
            if virtual is not None:
                found.append((virtual, figures))
        return found

    async def nodes(self) -> list[Measured]:
        """Return the figures of the virtual Nodes that stand for a host node. Raises: ApiError."""
        nodes = {objects.name(node): node for node in self._world.nodes.list() if is_ours(node)}
        return [
            (nodes[objects.name(figures)], figures)
            for figures in await self._read("nodes")
            if objects.name(figures) in nodes
        ]

    async def is_served(self) -> bool:
        """Whether the host has the group at all."""
        try:
            await self._host.raw(Request("GET", ROOT))
        except ApiError:
            return False
        return True

    async def _read(self, what: str) -> list[Object]:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            at, items = self._known.get(what, (-FRESH_S, []))
            if now - at >= FRESH_S:
                items = await (self._list_pods() if what == "pods" else self._list_nodes())
                self._known[what] = (now, items)
            return items

    async def _list_pods(self) -> list[Object]:
        names = self._world.names
        own = f"{objects.MANAGED_BY}={names.virtual_cluster}"
        return (await self._host.list(PODMETRICS, names.host_namespace, label_selector=own)).items

    async def _list_nodes(self) -> list[Object]:
        return (await self._host.list(NODEMETRICS)).items


class MetricsApi:
    """The backend of the APIService."""

    def __init__(self, metrics: HostMetrics, *, context: Callable[[], ssl.SSLContext], client_name: str) -> None:
        """`context` returns the current TLS context, which asks for a certificate; `client_name` alone may call."""
        self._metrics = metrics
        self._context = context
        self._client_name = client_name

    async def serve(self, _: Target, stream: Stream) -> None:
        """Serve one connection until it ends."""
        if await secured(stream, self._context(), "metrics connection", client_name=self._client_name):
            await Connection(*stream).serve(self._handle)

    async def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        try:
            body = await self._answer(request.method, request.path, request.query)
        except Unsupported as error:
            await _fail(exchange, error.status, str(error))
        except ApiError as error:
            log.info("the host's metrics cannot be read: %s", error)
            await _fail(exchange, 503, "the host cluster gives no metrics at the moment")
        else:
            await exchange.respond(200, msgspec.json.encode(body), "application/json")

    async def _answer(self, method: str, path: str, query: tuple[tuple[str, str], ...]) -> Object:
        call = parse(method, path, query)
        if call.what == "discovery":
            return discovery(nodes=self._metrics.has_nodes)
        if call.what == "pods":
            return answer(call, await self._metrics.pods())
        if not self._metrics.has_nodes:
            raise Unsupported(404, "nodes of the host cluster may not be read")
        return answer(call, await self._metrics.nodes())


async def _fail(exchange: Exchange, status: int, message: str) -> None:
    reasons = {400: "BadRequest", 404: "NotFound", 405: "MethodNotAllowed", 503: "ServiceUnavailable"}
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reasons.get(status, ""),
        "code": status,
    }
    await exchange.respond(status, msgspec.json.encode(body), "application/json")


async def offer(metrics: HostMetrics, ca: str, want: Callable[[str, list[Object]], None]) -> None:
    """Have the group inside (`want("metrics", …)`) while the host has it; without, tenants may bring their own."""
    before: bool | None = None
    while True:
        served = await metrics.is_served()
        if served != before:
            want("metrics", group_objects(ca) if served else [])
        before = served
        await asyncio.sleep(LOOK_S)
