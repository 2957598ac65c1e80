"""The hypervisor of one virtual cluster: everything that runs beside its API server, put together.

In every replica: the egress proxy with kubelet and admission, renewal of certificates, probes. In one of them (the
only one, or the leader): the sync engine, what is kept inside (`inside.py`), client certificates. What a start waits
for is in `readiness.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime
from functools import partial

import msgspec

from loft.core.resource import CLUSTERROLES
from loft.hypervisor import certs, keys, problems, versions
from loft.hypervisor.admission import ServiceAdmission
from loft.hypervisor.certificates import (
    FRONT_PROXY_USER,
    KUBELET_CLIENT_USER,
    ClientPairs,
    check_interval_s,
    client_pairs,
    trusted,
)
from loft.hypervisor.config import Config, Pod
from loft.hypervisor.core import objects
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.egress import Egress, Ways
from loft.hypervisor.health import Health
from loft.hypervisor.inside import WEBHOOK_PORT, Inside
from loft.hypervisor.kubelet import Kubelet
from loft.hypervisor.members import Change
from loft.hypervisor.metrics import HostMetrics, MetricsApi
from loft.hypervisor.neighbours import Neighbours
from loft.hypervisor.readiness import Readiness
from loft.hypervisor.replica import Places, Replica, virtual_endpoint
from loft.hypervisor.serving import ServingContexts
from loft.hypervisor.settings import OPTIONAL_KINDS, Settings
from loft.hypervisor.store import Beginning, tend
from loft.hypervisor.sync import Syncer
from loft.hypervisor.sync_world import World
from loft.kube.client import Client
from loft.kube.config import Endpoint
from loft.kube.errors import ApiError
from loft.kube.keep import keep_running, lasting
from loft.kube.leader import Leader
from loft.pki.serviceaccount import key_name

log = logging.getLogger(__name__)

UNSERVED_S = 12.0
"""How long one of several replicas leads while its own API server does not answer."""
UNSERVED_CHECK_S = 2.0


class Hypervisor:
    """One replica's hypervisor."""

    def __init__(self, clients: tuple[Client, Client], config: Config, pod: Pod, places: Places) -> None:
        self.host, self.virtual = clients
        self.config, self.pod, self.places = config, pod, places
        self.names = Names(config.name, config.namespace)
        self._replica = Replica(clients, config, pod, places)
        self._readiness = Readiness(self._replica)
        self.connections: dict[str, int] = {}
        """Connections of the virtual API server so far, by what became of them."""
        self.published = asyncio.Event()
        """Set once the Secrets by which it is reached are as they should be."""
        self._problem = ""

    async def run(self, facts: certs.HostFacts, data: dict[str, bytes]) -> None:
        """Run until cancelled."""
        config = self.config
        self._facts, self._data = facts, data
        self.settings = msgspec.structs.replace(
            settings_of(config, facts),
            cluster_owner=await self._cluster_owner(),
            node_address=self.pod.address if config.distribution else "",
            token_key=key_name(data["sa.pub"]) if "sa.pub" in data else "",
        )
        self.syncer = Syncer(self.host, self.virtual, self.settings)
        # With replicas, the caches for connections are apart from the leader's, which come and go with leadership.
        self.world = self.syncer.world if config.replicas == 1 else World(self.host, self.virtual, self.settings)
        contexts = ServingContexts(data, config.certificate_hours)
        self.metrics = HostMetrics(self.host, self.world)
        self.admission = ServiceAdmission(self.host, self.world, context=contexts.webhook)
        health = Health(self.check, self.figures)
        async with asyncio.TaskGroup() as group:
            self._serve(group, Neighbours(self.world), contexts)
            address = (self.places.health_port, self.places.health_address)
            group.create_task(lasting("health", lambda: health.run(*address)))
            group.create_task(keep_running("renewal", self._renew))
            if config.replicas == 1:
                group.create_task(keep_running("control", self._lead))
            else:
                group.create_task(keep_running("caches", partial(lasting, "caches", self._follow)))
                leader = Leader(self.host, config.namespace, f"vc-{config.name}", self.pod.name, owner=facts.owner)
                group.create_task(keep_running("control", partial(self._compete, leader)))

    # What is otherwise beside a control plane that is not ours, see distribution_run.py

    def _serve(self, group: asyncio.TaskGroup, neighbours: Neighbours, contexts: ServingContexts) -> None:
        """Begin to serve what the virtual API server calls: the only way out that it has."""
        kubelet = Kubelet(self.host, neighbours, self.metrics, context=contexts.node, client_name=KUBELET_CLIENT_USER)
        figures = MetricsApi(self.metrics, context=contexts.metrics, client_name=FRONT_PROXY_USER)
        ways = Ways(neighbours.known, kubelet.serve, self.admission.serve, figures.serve, webhook_port=WEBHOOK_PORT)
        egress = Egress(self.places.egress_socket, ways)
        self.connections = egress.counts
        group.create_task(lasting("egress", egress.run))

    async def _renew(self) -> None:
        """Keep the certificates of this pod's components valid."""
        where = partial(certs.current_place, self.host, self.config, self.pod, self._facts)
        await certs.renew(where, self._data, self.places.pki)

    async def _client_pairs(self) -> ClientPairs:
        """Make new client certificates for people and for the gateway."""
        return await asyncio.to_thread(client_pairs, self._data, datetime.now(UTC), self.config.certificate_hours)

    async def _cluster_owner(self) -> Object | None:
        """Return what cluster-scoped host objects belong to: the chart's ClusterRole, which goes with the release."""
        if not OPTIONAL_KINDS & self.config.kinds:
            return None
        name = f"vc-{self.config.namespace}-{self.config.name}"
        try:
            found = await self.host.get(CLUSTERROLES, name)
        except ApiError as error:
            log.warning("nothing cluster-wide is made on the host: ClusterRole %s: %s", name, error)
            return None
        kind = {"apiVersion": CLUSTERROLES.api_version, "kind": CLUSTERROLES.kind}
        return kind | {"name": name, "uid": objects.uid(found)}

    async def check(self) -> str:
        """Return "" when the virtual cluster can be used, else what is missing."""
        return await self._readiness.check()

    def figures(self) -> dict[str, float]:
        """Return counters for /metrics."""
        found: dict[str, float] = {
            f'loft_hypervisor_egress_total{{way="{way}"}}': count for way, count in self.connections.items()
        }
        for result, count in self.admission.counts.items():
            found[f'loft_hypervisor_admission_total{{result="{result}"}}'] = count
        found["loft_hypervisor_store_full"] = float(bool(self._problem))
        return {**found, "loft_hypervisor_ready": float(self._readiness.is_ready)}

    # The work of the one that leads

    async def _lead(self) -> None:
        publishing = asyncio.ensure_future(self._publish())
        try:
            await self._readiness.api_usable()
            inside = Inside(self._replica, trusted(self._data, "webhook-ca.crt"), self._facts.service_ip)
            async with asyncio.TaskGroup() as group:
                syncer = self.syncer if self.config.replicas == 1 else Syncer(self.host, self.virtual, self.settings)
                group.create_task(lasting("keeper", inside.keeper.run))
                group.create_task(lasting("sync", syncer.run))
                group.create_task(lasting("the API server's Service", inside.own_service))
                group.create_task(lasting("access rules", inside.access))
                if self.config.metrics:
                    group.create_task(keep_running("metrics", partial(inside.figures, self.metrics)))
                if self.config.distribution is None:
                    group.create_task(keep_running("authorities", partial(keys.follow, self.host, self.config)))
                if self.config.replicas > 1:
                    group.create_task(keep_running("endpoints", inside.replicas))
                    group.create_task(self._lead_while_served())
                if not self.config.store_is_ours:
                    await problems.note(self.host, self.config, "")
                else:
                    if self.config.replicas > 1:
                        group.create_task(keep_running("the store's members", self._tend_members))
                    group.create_task(
                        problems.follow_store(self.host, self.config, self.places.store_health, self._found)
                    )
                self._readiness.missing = "waiting for the access rules and the webhook to be in place"
                await inside.keeper.settled()
                if self.config.replicas == 1:
                    await self._become_ready()
                group.create_task(keep_running("dns", inside.dns))
        finally:
            if self.config.replicas == 1:
                # With replicas, readiness follows from this one's own caches, not from who leads.
                self._readiness.lose()
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def _compete(self, leader: Leader) -> None:
        """Lead when it is this one's turn, but never without an API server: another replica's may be well."""
        await self._readiness.api_usable()
        await leader.run(self._lead)

    async def _lead_while_served(self) -> None:
        """Raise, and so give the Lease up, when this replica's API server does not answer for a while."""
        answered = time.monotonic()
        while time.monotonic() < answered + UNSERVED_S:
            await asyncio.sleep(UNSERVED_CHECK_S)
            # A server that hangs takes connections and never answers.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNSERVED_S / 3):
                    if await self._readiness.answers():
                        answered = time.monotonic()
        raise TimeoutError(f"the API server of {self.pod.name} has not answered for {UNSERVED_S:.0f} s")

    async def _follow(self) -> None:
        """Keep this replica's caches, for its own API server's connections."""
        await self._readiness.api_usable()
        async with asyncio.TaskGroup() as group:
            for informer in self.world.informers():
                group.create_task(informer.run())
            await self._become_ready()

    async def _tend_members(self) -> None:
        def changed(change: Change) -> None:
            log.info("the store's members: %s", change)

        await tend(self.host, self.config, self.places.store_socket, changed=changed)

    def _found(self, problem: str) -> None:
        self._problem = problem
        if problem:
            log.error("%s", problem)

    async def _become_ready(self) -> None:
        await self._readiness.become(self.world, self.admission, self._facts.service_ip)

    async def _publish(self) -> None:
        async def publish() -> None:
            while True:
                await certs.publish_clients(self.host, self.config, self._data, self._facts.owner, self._client_pairs)
                self.published.set()
                await asyncio.sleep(check_interval_s(self.config.certificate_hours))

        await keep_running("client certificates", publish)


def settings_of(config: Config, facts: certs.HostFacts) -> Settings:
    """Return the sync engine's settings."""
    return Settings(
        name=config.name,
        host_namespace=config.namespace,
        service_cidr=config.service_cidr,
        api_service_ip=facts.service_ip,
        cluster_domain=config.cluster_domain,
        owner=facts.owner,
        kinds=config.kinds,
        host_nodes=config.host_nodes,
        scheduler=config.scheduler,
        all_nodes=config.all_nodes or config.scheduler,
        node_selector=config.node_selector,
        kubernetes_version=config.kubernetes_version,
        pod_security=config.pod_security,
        storage_classes=config.storage_classes,
        ingress_classes=config.ingress_classes,
        ingress_hosts=config.ingress_hosts,
        priority_classes=config.priority_classes,
        snapshot_classes=config.snapshot_classes,
        tolerations=config.tolerations,
        hosts_image=config.hosts_image,
        custom_resources=config.custom_resources,
        control_plane={"app.kubernetes.io/name": "virtualcluster", "app.kubernetes.io/instance": config.name},
        blocked_cidrs=config.blocked_cidrs,
        from_host=config.from_host,
        from_virtual=config.from_virtual,
    )


async def _refuse(host: Client, config: Config, places: Places, why: str) -> None:
    """Say why no component may begin, and stay: a restart would change nothing. Runs until cancelled."""
    log.error("the control plane is not started: %s", why)
    await problems.note(host, config, f"VersionNotPossible: {why}")

    async def check() -> str:
        return why

    await Health(check, dict).run(places.health_port, places.health_address)


async def _begin(beginning: Beginning, places: Places, served: str) -> None:
    """Let the store begin, which may take others; probes are answered meanwhile."""

    async def check() -> str:
        return beginning.missing or "starting"

    health = asyncio.ensure_future(Health(check, dict).run(places.health_port, places.health_address))
    try:
        await beginning.run(served)
    finally:
        health.cancel()
        await asyncio.gather(health, return_exceptions=True)


async def run(host_endpoint: Endpoint, config: Config, pod: Pod, places: Places) -> None:
    """Run one replica's hypervisor until cancelled; the other containers of its pod begin when it lets them."""
    async with Client(host_endpoint, user_agent="loft-hypervisor") as host:
        facts, data = await certs.prepare(host, config, pod, places.pki)
        served = await versions.served_version(host, config)
        if why := versions.refusal(served, config.kubernetes_version, config.replicas):
            await _refuse(host, config, places, why)
        if config.store_is_ours:
            await _begin(Beginning(host, config, certs.place(config, pod, facts), places), places, served)
        else:
            certs.let_start(places.pki, "kube-apiserver")
        endpoint = virtual_endpoint(places, trusted(data, "ca.crt"))
        async with Client(endpoint, user_agent="loft-hypervisor") as virtual:
            await Hypervisor((host, virtual), config, pod, places).run(facts, data)
