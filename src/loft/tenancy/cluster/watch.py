"""Wires Cluster objects: the local one, those with a kubeconfig in a Secret, and those connected by `clusterconnects`.

`connect` runs in whichever replica of the centre gets the request; `run` in the leading one.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from loft.api.cluster import Cluster
from loft.api.management import ClusterConnect, ClusterConnectStatus
from loft.core.action import Action, Apply, Event
from loft.core.backoff import Backoff
from loft.core.resource import CLUSTERS, SECRETS, SERVICES
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from loft.kube.execute import Executor
from loft.kube.informer import Informer
from loft.tenancy.cluster import plan
from loft.tenancy.cluster.connect import (
    AgentSettings,
    ConnectError,
    Place,
    install_agent,
    read_kubeconfig,
    wait_for_call,
)
from loft.tenancy.cluster.tokens import Tokens
from loft.tenancy.replica.publisher import Publisher

log = logging.getLogger(__name__)

Object = dict[str, Any]
MANAGER = "loft"
LOOK_S = 30.0
RETRY = Backoff(base_s=30.0, cap_s=600.0, jitter=0.0)


class Home(msgspec.Struct, frozen=True, kw_only=True):
    """The centre's own cluster."""

    namespace: str
    url: str
    """Under which the agent beside the centre reaches it."""
    ca: bytes


class Retry(msgspec.Struct, frozen=True):
    """When a connection that failed is tried again, on the event loop's clock."""

    generation: int
    failures: int = 0
    at: float = 0.0


class Clusters:
    """Connects clusters and keeps their status."""

    def __init__(
        self,
        client: Client,
        clusters: Informer,
        tokens: Tokens,
        publisher: Publisher,
        settings: tuple[AgentSettings, Home],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._clusters = clusters
        self._tokens = tokens
        self._publisher = publisher
        self._agents, self._home = settings
        self._clock = clock
        self._retries: dict[str, Retry] = {}
        self._executor = Executor(client, component=MANAGER)
        self._controller = Controller("clusters", self._reconcile, workers=4)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._clusters.synced()
        await self._tokens.synced()

        def on_cluster(key: str, _old: Object | None, _new: Object | None) -> None:
            self._controller.enqueue(key)

        self._clusters.subscribe(on_cluster)
        try:
            await self._controller.run()
        finally:
            self._clusters.unsubscribe(on_cluster)

    async def connect(self, wish: ClusterConnect, user: str) -> ClusterConnectStatus:
        """Connect a cluster by the kubeconfig in `wish`; without success nothing of it is left at the centre.

        `user` is the name of the user who wishes it, and who owns it then.
        """
        name = wish.metadata.name
        try:
            endpoint = await read_kubeconfig(wish.spec.config.encode())
            cluster = await self._create(wish, user)
        except ConnectError as error:
            return ClusterConnectStatus(failed=True, reason=error.reason, message=error.message)
        place = Place(cluster=name, namespace=plan.DEFAULT_NAMESPACE, endpoint=endpoint)
        try:
            await self._install(cluster, place)
            return ClusterConnectStatus()
        except ConnectError as error:
            await self._forget(cluster)
            return ClusterConnectStatus(failed=True, reason=error.reason, message=error.message)
        except BaseException:
            await asyncio.shield(self._forget(cluster))
            raise

    def note_connection(self, cluster: str, is_connected: bool) -> None:
        """Hear from the publisher that an agent came or went; the status follows at once."""
        self._controller.enqueue(cluster)

    async def keep_seen(self) -> None:
        """Write down every now and then which agents are connected to this replica, for ever."""
        while True:
            for name in self._publisher.connected():
                await self._seen(name, online=True)
            await asyncio.sleep(LOOK_S)

    async def keep_connections(self, changes: asyncio.Queue[tuple[str, bool]]) -> None:
        """Write down comings and goings of agents at this replica, for ever."""
        while True:
            name, is_connected = await changes.get()
            await self._seen(name, online=is_connected)

    async def ensure_local(self, name: str, display_name: str) -> None:
        """Make the Cluster object of the centre's own cluster, if there is none. Raises: ApiError."""
        body: Object = {
            "apiVersion": CLUSTERS.api_version,
            "kind": CLUSTERS.kind,
            "metadata": {"name": name},
            "spec": {
                "local": True,
                "displayName": display_name or name,
                "managementNamespace": self._home.namespace,
            },
        }
        try:
            await self._client.create(CLUSTERS, body)
        except AlreadyExists:
            return

    async def _seen(self, name: str, *, online: bool) -> None:
        found = self._clusters.get(name)
        if found is None:
            return
        cluster = msgspec.convert(found, Cluster)
        # Another agent pod, or another replica of the centre, may be connected still: it says so within LOOK_S.
        fields: dict[str, object] = {"online": online or name in self._publisher.connected()}
        if online:
            fields["last_seen"] = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            await self._perform(plan.status_patch(cluster, **fields))
        except ApiError as error:
            log.warning("the status of cluster %s cannot be written: %s", name, error)

    async def _reconcile(self, name: str) -> float | None:
        found = self._clusters.get(name)
        if found is None:
            self._retries.pop(name, None)
            self._publisher.disconnect(name)
            return None
        cluster = msgspec.convert(found, Cluster)
        if plan.is_stale(cluster, self._clock()) and name not in self._publisher.connected():
            await self._perform(plan.status_patch(cluster, online=False))
        step = plan.next_step(cluster, has_token=self._tokens.exists(name))
        if step == "local":
            return await self._local(cluster, found)
        if step == "connect":
            return await self._connect_by_secret(cluster, found)
        if not cluster.status.phase and cluster.spec.config is None:
            text = "there is no spec.config; connect a cluster with `loft connect cluster`, or name a Secret there"
            await self._perform(plan.status_patch(cluster, reason="NoKubeConfig", message=text))
        return LOOK_S

    async def _local(self, cluster: Cluster, found: Object) -> float | None:
        """Give the agent beside us its credentials, and find its Service."""
        name, namespace = cluster.metadata.name, self._home.namespace
        if not self._tokens.exists(name) or await self._client.find(SECRETS, plan.AGENT_SECRET, namespace) is None:
            token = await self._tokens.new(found)
            data = {"url": self._home.url, "ca": self._home.ca.decode(), "token": token, "cluster": name}
            secret = {
                "metadata": {
                    "name": plan.AGENT_SECRET,
                    "namespace": namespace,
                    "labels": {"loft.sh/managed-by": MANAGER},
                },
                "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
            }
            await self._executor.execute([Apply(SECRETS, secret, MANAGER)])
        service = await self._client.find(SERVICES, plan.AGENT_SERVICE, namespace)
        endpoint = plan.local_endpoint(service) if service else ""
        fields: dict[str, object] = {"agent_endpoint": endpoint}
        if endpoint:
            fields |= {"phase": "Initialized", "reason": "", "message": ""}
        else:
            fields |= {"phase": "", "reason": "NoAgent", "message": f"chart loft-agent is not in namespace {namespace}"}
        await self._perform(plan.status_patch(cluster, **fields))
        return LOOK_S if endpoint else 1.0

    async def _connect_by_secret(self, cluster: Cluster, found: Object) -> float | None:
        name, generation = cluster.metadata.name, cluster.metadata.generation
        retry = self._retries.get(name, Retry(generation))
        if retry.generation != generation:
            retry = Retry(generation)
        now = asyncio.get_running_loop().time()
        if now < retry.at:
            return retry.at - now
        try:
            endpoint = await read_kubeconfig(await self._kubeconfig(cluster))
            place = Place(cluster=name, namespace=plan.agent_namespace(cluster), endpoint=endpoint)
            await self._install(found, place)
        except ConnectError as error:
            wait_s = RETRY.delay_s(retry.failures + 1, 0.0)
            self._retries[name] = Retry(generation, retry.failures + 1, now + wait_s)
            patch = plan.status_patch(cluster, phase="Failed", reason=error.reason, message=error.message)
            await self._perform(patch)
            await self._perform(Event(found, error.reason, error.message[:1000], "Warning"))
            return wait_s
        self._retries.pop(name, None)
        return LOOK_S

    async def _kubeconfig(self, cluster: Cluster) -> bytes:
        """Read the kubeconfig that a Cluster names. Raises: ConnectError."""
        reference = cluster.spec.config
        assert reference is not None, "asked for only with spec.config"
        namespace = reference.secret_namespace or self._home.namespace
        if namespace != self._home.namespace:
            text = f"spec.config.secretNamespace must be {self._home.namespace}: the centre reads no other Secrets"
            raise ConnectError("InvalidReference", text)
        where = f"Secret {namespace}/{reference.secret_name}"
        secret = await self._client.find(SECRETS, reference.secret_name, namespace) if reference.secret_name else None
        if secret is None:
            raise ConnectError("NoSecret", f"{where} does not exist")
        key = reference.key or "config"
        data = (secret.get("data") or {}).get(key)
        if not data:
            raise ConnectError("NoSecret", f"{where} has no key {key}")
        return base64.b64decode(data)

    async def _create(self, wish: ClusterConnect, user: str) -> Object:
        body: Object = {
            "apiVersion": CLUSTERS.api_version,
            "kind": CLUSTERS.kind,
            "metadata": {"name": wish.metadata.name},
            "spec": {"displayName": wish.spec.display_name or wish.metadata.name},
        }
        if user:
            body["spec"]["owner"] = {"user": user}
        try:
            return await self._client.create(CLUSTERS, body)
        except AlreadyExists:
            text = f"a cluster {wish.metadata.name} is connected already; choose another name"
            raise ConnectError("AlreadyExists", text) from None

    async def _install(self, cluster: Object, place: Place) -> None:
        """Install the agent, wait for its call, and note where it is. Raises: ConnectError."""
        name = place.cluster
        token = await self._tokens.new(cluster)
        endpoint = await install_agent(place, token, self._agents)
        current = msgspec.convert(await self._client.get(CLUSTERS, name), Cluster)
        await self._perform(plan.status_patch(current, agent_endpoint=endpoint))
        await wait_for_call(lambda: self._is_online(name), endpoint, name, self._agents)
        current = msgspec.convert(await self._client.get(CLUSTERS, name), Cluster)
        await self._perform(
            plan.status_patch(current, phase="Initialized", reason="", message="", agent_endpoint=endpoint)
        )
        log.info("cluster %s is connected; its agent is at %s", name, endpoint)

    def _is_online(self, name: str) -> bool:
        if name in self._publisher.connected():
            return True
        found = self._clusters.get(name)
        return bool(found and (found.get("status") or {}).get("online"))

    async def _forget(self, cluster: Object) -> None:
        name = cluster["metadata"]["name"]
        try:
            await self._tokens.drop(name)
            await self._client.delete(CLUSTERS, name, uid=cluster["metadata"]["uid"])
        except (NotFound, Conflict):
            return
        except ApiError as error:
            log.warning("what is left of cluster %s cannot be removed: %s", name, error)

    async def _perform(self, action: Action | None) -> None:
        if action is not None:
            await self._executor.perform(action)
