"""How each virtual cluster is reached: the address of its Service and the certificate for the gateway.

Runs in every replica of the agent. Certificates are read as early as they exist, before the control plane is ready,
so that a gateway knows the way by the time anybody is told to go. The agent may read exactly these Secrets, one by
one (the chart of the virtual cluster says so), so there is nothing to watch: they are read when the control plane
changes, and every few minutes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from loft.api.virtualcluster import VirtualClusterSpec
from loft.core.resource import SECRETS, SERVICES, object_key, split_key
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import ApiError, Forbidden
from loft.kube.informer import Informer
from loft.pki.authority import KeyPair
from loft.tenancy.virtualcluster.release import RELEASE, release_key

log = logging.getLogger(__name__)

Object = dict[str, Any]

STARTING_S = 0.4
STARTING_TRIES = 300
CURRENT_S = 300.0
PORT = 443


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How the API server of one virtual cluster is reached."""

    namespace: str
    name: str
    address: str
    ca: bytes
    client: KeyPair
    """Bound inside to `impersonate` only."""
    allow_service_accounts: bool = True


Changed = Callable[[Iterable[Way]], None]


def way_of(cluster: Object, service: Object | None, secret: Object | None) -> Way | None:
    """Return the way to a virtual cluster, None while a part of it is missing. Pure.

    Only the Service's ClusterIP counts: an ExternalName would let a tenant send the gateway anywhere.
    """
    metadata = cluster["metadata"]
    if metadata.get("deletionTimestamp") or service is None or secret is None:
        return None
    spec = service.get("spec") or {}
    address = spec.get("clusterIP") or ""
    try:
        ip = ipaddress.ip_address(address)
        parts = {key: base64.b64decode((secret.get("data") or {})[key]) for key in ("ca.crt", "tls.crt", "tls.key")}
    except (ValueError, KeyError, binascii.Error):
        return None
    if spec.get("type") == "ExternalName" or not all(parts.values()):
        return None
    access = msgspec.convert(cluster.get("spec") or {}, VirtualClusterSpec).access
    return Way(
        namespace=metadata["namespace"],
        name=metadata["name"],
        address=f"[{ip}]:{PORT}" if ip.version == 6 else f"{ip}:{PORT}",
        ca=parts["ca.crt"],
        client=KeyPair(cert=parts["tls.crt"], key=parts["tls.key"]),
        allow_service_accounts=not (access is not None and access.disable_service_accounts_auth),
    )


class Ways:
    """Keeps the ways current and tells all of them whenever one changes."""

    def __init__(self, client: Client, clusters: Informer, stateful_sets: Informer, changed: Changed) -> None:
        self._client = client
        self._clusters = clusters
        self._changed = changed
        self._ways: dict[str, Way] = {}
        self._tries: dict[str, int] = {}
        self._controller = Controller("virtual-cluster-ways", self._reconcile, workers=8)
        clusters.subscribe(lambda key, _old, _new: self._restart(key))
        stateful_sets.subscribe(lambda key, _old, _new: self._restart_release(key))

    async def run(self) -> None:
        """Follow, for ever."""
        await self._clusters.synced()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._controller.run())

    def _restart_release(self, release: str) -> None:
        for cluster in self._clusters.by_index(RELEASE, release):
            self._restart(object_key(cluster))

    def _restart(self, key: str) -> None:
        self._tries.pop(key, None)
        self._controller.enqueue(key)

    async def _reconcile(self, key: str) -> float | None:
        cluster = self._clusters.get(key)
        if cluster is None:
            self._tries.pop(key, None)
            self._put(key, None)
            return None
        way = way_of(cluster, *await self._parts(release_key(cluster)))
        if way is None and cluster["metadata"].get("deletionTimestamp"):
            self._put(key, None)
            return None
        if way is not None:
            self._put(key, way)
            return CURRENT_S
        tries = self._tries[key] = self._tries.get(key, 0) + 1
        return STARTING_S if tries < STARTING_TRIES else CURRENT_S

    async def _parts(self, key: str) -> tuple[Object | None, Object | None]:
        namespace, name = split_key(key)
        try:
            secret = await self._client.find(SECRETS, f"vc-{name}-gateway", namespace)
            if secret is None:
                return None, None
            return await self._client.find(SERVICES, name, namespace), secret
        except Forbidden:  # the chart's Role is not there yet
            return None, None
        except ApiError as error:
            log.warning("the way to virtual cluster %s cannot be read: %s", key, error)
            raise

    def _put(self, key: str, way: Way | None) -> None:
        if self._ways.get(key) == way:
            return
        if way is None:
            self._ways.pop(key, None)
        else:
            self._ways[key] = way
        self._changed([*self._ways.values()])
