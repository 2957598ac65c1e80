"""Notes by which authority a direct cluster endpoint proves itself, where it is ours.

An administrator names the endpoint by an annotation. What answers there may be the agent with a certificate that
the centre made, or an ingress with one of its own: a context that trusts the wrong authority reaches neither. So
the endpoint is looked at, and the annotation `loft.sh/direct-cluster-endpoint-ca-data` is written only when it shows
a certificate of ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec

from loft.api.cluster import DIRECT_ENDPOINT, Cluster
from loft.core.backoff import Backoff
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import Conflict, NotFound
from loft.kube.execute import Executor
from loft.kube.informer import Informer
from loft.tenancy.cluster import plan
from loft.tenancy.cluster.probe import proves

log = logging.getLogger(__name__)

Object = dict[str, Any]
RETRY = Backoff(base_s=1.0, cap_s=300.0, jitter=0.0)
"""Soon at first: the agent's new certificate is on its way; then seldom, since an ingress keeps its own."""


class DirectEndpoints:
    """Follows the clusters; runs in the leading replica of the centre."""

    def __init__(self, client: Client, clusters: Informer, ca: bytes) -> None:
        """`ca` is the authority (PEM) of the agents' certificates."""
        self._clusters = clusters
        self._ca = ca
        self._executor = Executor(client, component="loft")
        self._controller = Controller("direct-endpoints", self._reconcile, workers=4)
        self._looks: dict[str, tuple[str, int]] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        await self._clusters.synced()

        def on_cluster(key: str, _old: Object | None, _new: Object | None) -> None:
            self._controller.enqueue(key)

        self._clusters.subscribe(on_cluster)
        try:
            await self._controller.run()
        finally:
            self._clusters.unsubscribe(on_cluster)

    async def _reconcile(self, name: str) -> float | None:
        found = self._clusters.get(name)
        cluster = msgspec.convert(found, Cluster) if found is not None else None
        patch = plan.direct_authority(cluster, self._ca) if cluster is not None else None
        if cluster is None or patch is None:
            self._looks.pop(name, None)
            return None
        endpoint = cluster.metadata.annotations[DIRECT_ENDPOINT]
        if await self._is_ours(endpoint):
            try:
                await self._executor.perform(patch)
            except (NotFound, Conflict):
                return None
            log.info("the direct endpoint %s of cluster %s proves itself by our authority", endpoint, name)
            return None
        before, looks = self._looks.get(name, ("", 0))
        looks = looks + 1 if before == endpoint else 1
        self._looks[name] = endpoint, looks
        return RETRY.delay_s(looks, 0.0)

    async def _is_ours(self, endpoint: str) -> bool:
        try:
            parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
            host, port = parts.hostname or "", parts.port or 443
            addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            plan.check_server(parts.geturl(), [str(entry[4][0]).partition("%")[0] for entry in addresses])
        except (OSError, ValueError):
            return False
        return await proves(host, port, self._ca)
