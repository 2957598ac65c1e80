"""The hypervisor of one virtual cluster: everything that runs beside its API server, put together.

In every replica: the egress proxy with kubelet and admission, renewal of certificates, probes. In one of them (the
only one, or the leader): the sync engine, access rules, the API server's own Service, DNS, client certificates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from loft.core.resource import (
    APISERVICES,
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    ENDPOINTS,
    ENDPOINTSLICES,
    MUTATINGWEBHOOKS,
    SERVICEACCOUNTS,
    SERVICES,
)
from loft.hypervisor import certs, problems, versions
from loft.hypervisor.access import access_objects
from loft.hypervisor.admission import PATH, ServiceAdmission
from loft.hypervisor.admission_plan import webhook_configuration
from loft.hypervisor.apiservice import endpoint_objects, plan_service
from loft.hypervisor.bootstrap import apply_all
from loft.hypervisor.certificates import (
    CREDENTIAL_FILE,
    FRONT_PROXY_USER,
    KUBELET_CLIENT_USER,
    check_interval_s,
)
from loft.hypervisor.config import ACCESS_KEY, Config, ConfigError, Pod, parse_access
from loft.hypervisor.control_plane_files import API_SERVER, EGRESS_SOCKET
from loft.hypervisor.core import objects
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.dns import dns_objects
from loft.hypervisor.egress import Egress, Ways
from loft.hypervisor.health import PORT, Health
from loft.hypervisor.keeper import Keeper
from loft.hypervisor.kubelet import Kubelet
from loft.hypervisor.metrics import HostMetrics, MetricsApi, offer
from loft.hypervisor.neighbours import Neighbours
from loft.hypervisor.replicas import follow_replicas
from loft.hypervisor.serving import ServingContexts
from loft.hypervisor.settings import OPTIONAL_KINDS, Settings
from loft.hypervisor.sync import Syncer
from loft.hypervisor.sync_world import World
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.config import Endpoint, ExecPlugin
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists, ApiError
from loft.kube.execute import Executor
from loft.kube.informer import Informer
from loft.kube.keep import keep_running, lasting
from loft.kube.leader import Leader
from loft.kube.request import Request

log = logging.getLogger(__name__)

POLL_S = 0.05
BOOTSTRAP_ROLES = "poststarthook/rbac/bootstrap-roles"
WEBHOOK_PORT = 10251
UNSERVED_S = 12.0
"""How long one of several replicas leads while its own API server does not answer."""
UNSERVED_CHECK_S = 2.0


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where this process finds and offers things; tests run several on one machine."""

    pki: Path = certs.PKI_ROOT
    """The folder that holds the hypervisor's own folder, and in it the credential for the virtual API server."""
    egress_socket: Path = Path(EGRESS_SOCKET)
    api_server: str = API_SERVER
    health_port: int = PORT
    health_address: str = "0.0.0.0"
    store_health: tuple[str, int] = problems.HEALTH_ADDRESS


def virtual_endpoint(places: Places, ca: bytes) -> Endpoint:
    """Return how the hypervisor reaches the virtual API server.

    The credential is a file that is replaced when renewed, in the format of credential plugins: so the client asks
    for it again in time, by the way it knows for certificates that end.
    """
    plugin = ExecPlugin(command="cat", args=(str(places.pki / CREDENTIAL_FILE),))
    return Endpoint(server=places.api_server, ca_data=ca, exec_=plugin)


class Hypervisor:
    """One replica's hypervisor."""

    def __init__(self, clients: tuple[Client, Client], config: Config, pod: Pod, places: Places) -> None:
        self.host, self.virtual = clients
        self.config, self.pod, self.places = config, pod, places
        self.names = Names(config.name, config.namespace)
        self._ready = asyncio.Event()
        self._missing = "starting"
        self._problem = ""
        self._began = time.monotonic()

    async def run(self, facts: certs.HostFacts, data: dict[str, bytes]) -> None:
        """Run until cancelled."""
        config = self.config
        self._facts, self._data = facts, data
        self.settings = msgspec.structs.replace(settings_of(config, facts), cluster_owner=await self._cluster_owner())
        self.syncer = Syncer(self.host, self.virtual, self.settings)
        # With replicas, the caches for connections are apart from the leader's, which come and go with leadership.
        self.world = self.syncer.world if config.replicas == 1 else World(self.host, self.virtual, self.settings)
        neighbours = Neighbours(self.world)
        contexts = ServingContexts(data, config.certificate_hours)
        self.metrics = HostMetrics(self.host, self.world)
        kubelet = Kubelet(self.host, neighbours, self.metrics, context=contexts.node, client_name=KUBELET_CLIENT_USER)
        figures = MetricsApi(self.metrics, context=contexts.metrics, client_name=FRONT_PROXY_USER)
        self.admission = ServiceAdmission(
            self.host, self.world, self.names, context=contexts.webhook, owner=facts.owner
        )
        ways = Ways(neighbours.known, kubelet.serve, self.admission.serve, figures.serve, webhook_port=WEBHOOK_PORT)
        self.egress = Egress(self.places.egress_socket, ways)
        health = Health(self.check, self.figures)
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting("egress", self.egress.run))
            address = (self.places.health_port, self.places.health_address)
            group.create_task(lasting("health", lambda: health.run(*address)))
            where = partial(certs.current_place, self.host, config, self.pod, facts)
            group.create_task(keep_running("renewal", lambda: certs.renew(where, data, self.places.pki)))
            if config.replicas == 1:
                group.create_task(keep_running("control", self._lead))
            else:
                group.create_task(keep_running("caches", partial(lasting, "caches", self._follow)))
                leader = Leader(self.host, config.namespace, f"vc-{config.name}", self.pod.name, owner=facts.owner)
                group.create_task(keep_running("control", partial(self._compete, leader)))

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
        if not self._ready.is_set():
            return self._missing
        try:
            await self.virtual.raw(Request("GET", "/readyz"))
        except ApiError as error:
            return f"the API server is not ready: {error.message}"
        return ""

    def figures(self) -> dict[str, float]:
        """Return counters for /metrics."""
        found: dict[str, float] = {
            f'loft_hypervisor_egress_total{{way="{way}"}}': count for way, count in self.egress.counts.items()
        }
        for result, count in self.admission.counts.items():
            found[f'loft_hypervisor_admission_total{{result="{result}"}}'] = count
        found["loft_hypervisor_store_full"] = float(bool(self._problem))
        return {**found, "loft_hypervisor_ready": float(self._ready.is_set())}

    # The work of the one that leads

    async def _lead(self) -> None:
        publishing = asyncio.ensure_future(self._publish())
        try:
            await self._api_usable()
            keeper = self._keeper()
            async with asyncio.TaskGroup() as group:
                syncer = self.syncer if self.config.replicas == 1 else Syncer(self.host, self.virtual, self.settings)
                group.create_task(lasting("keeper", keeper.run))
                group.create_task(lasting("sync", syncer.run))
                group.create_task(lasting("the API server's Service", self._own_service))
                group.create_task(lasting("access rules", lambda: self._follow_access(keeper)))
                if self.config.metrics:
                    ca = str(msgspec.to_builtins(self._data["webhook-ca.crt"]))
                    group.create_task(keep_running("metrics", lambda: offer(self.metrics, ca, keeper.want)))
                if self.config.replicas > 1:
                    group.create_task(keep_running("endpoints", partial(self._follow_replicas, keeper)))
                    group.create_task(self._lead_while_served())
                if not self.config.store_is_ours:
                    await problems.note(self.host, self.config, "")
                else:
                    group.create_task(
                        problems.follow_store(self.host, self.config, self.places.store_health, self._found)
                    )
                self._missing = "waiting for the access rules and the webhook to be in place"
                await keeper.settled()
                if self.config.replicas == 1:
                    await self._become_ready()
                group.create_task(keep_running("dns", self._dns))
        finally:
            if self.config.replicas == 1:
                # With replicas, readiness follows from this one's own caches, not from who leads.
                self._ready.clear()
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)

    async def _compete(self, leader: Leader) -> None:
        """Lead when it is this one's turn, but never without an API server: another replica's may be well."""
        await self._api_usable()
        await leader.run(self._lead)

    async def _lead_while_served(self) -> None:
        """Raise, and so give the Lease up, when this replica's API server does not answer for a while."""
        answered = time.monotonic()
        while time.monotonic() < answered + UNSERVED_S:
            await asyncio.sleep(UNSERVED_CHECK_S)
            # A server that hangs takes connections and never answers.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNSERVED_S / 3):
                    if await self._answers():
                        answered = time.monotonic()
        raise TimeoutError(f"the API server of {self.pod.name} has not answered for {UNSERVED_S:.0f} s")

    async def _follow(self) -> None:
        """Keep this replica's caches, for its own API server's connections."""
        await self._api_usable()
        async with asyncio.TaskGroup() as group:
            for informer in self.world.informers():
                group.create_task(informer.run())
            await self._become_ready()

    def _found(self, problem: str) -> None:
        self._problem = problem
        if problem:
            log.error("%s", problem)

    async def _follow_replicas(self, keeper: Keeper) -> None:
        service = (self.config.namespace, self.config.name)
        await follow_replicas(self.host, service, self.pod.address, keeper.want)

    def _age_s(self) -> float:
        return time.monotonic() - self._began

    def _keeper(self) -> Keeper:
        resources = [MUTATINGWEBHOOKS, CLUSTERROLES, CLUSTERROLEBINDINGS, ENDPOINTS, ENDPOINTSLICES]
        resources += [SERVICES, APISERVICES] if self.config.metrics else []
        keeper = Keeper(self.virtual, resources)
        if "Service" in self.config.kinds:
            url = f"https://127.0.0.1:{WEBHOOK_PORT}{PATH}"
            ca = msgspec.to_builtins(self._data["webhook-ca.crt"])
            keeper.want("webhook", [webhook_configuration(url, ca)])
        if self.config.replicas == 1:
            keeper.want("endpoints", endpoint_objects([self.pod.address]))
        return keeper

    async def _api_usable(self) -> None:
        """Wait until the API server answers us; its own roles, which it makes meanwhile, are for others."""
        await self._until("waiting for the API server", partial(self._answers, ("exclude", BOOTSTRAP_ROLES)))
        await versions.note_served(self.host, self.config)
        log.info("the API server is usable %.1f s after the hypervisor's start", self._age_s())

    async def _answers(self, *query: tuple[str, str]) -> bool:
        try:
            await self.virtual.raw(Request("GET", "/readyz", query))
        except ApiError as error:
            log.debug("API server: %s", error)
            return False
        return True

    async def _become_ready(self) -> None:
        """Wait until tenants' objects are treated as they must be, then say so."""
        self._missing = "waiting for the caches"
        for informer in self.world.informers():
            await informer.synced()
        if "Service" in self.config.kinds:
            await self._until("waiting for the admission of Services", self._is_asked)
        await self._until("waiting for the API server's roles", self._answers)
        # Only now: it could do nothing without its roles, and would take the API server's processor from it.
        certs.let_start(self.places.pki, "kube-controller-manager", "kube-scheduler")
        await self._until("waiting for a service account", self._has_service_account)
        await self._until("waiting for the Service of the API server", self._service_in_place)
        self._ready.set()
        log.info("virtual cluster %s is ready %.1f s after the hypervisor's start", self.config.name, self._age_s())

    async def _until(self, missing: str, check: Callable[[], Awaitable[bool]]) -> None:
        self._missing = missing
        while True:
            if await check():
                return
            await asyncio.sleep(POLL_S)

    async def _has_service_account(self) -> bool:
        """Make the account without which no pod is admitted; its controller would, a second later."""
        try:
            await self.virtual.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
        except AlreadyExists:
            return True
        except ApiError as error:
            log.debug("service account: %s", error)
            return False
        return True

    async def _is_asked(self) -> bool:
        """Whether the API server already asks the webhook: it learns of it a moment after the object is written."""
        before = self.admission.counts["allowed"]
        probe = {"metadata": {"name": "admission-probe"}, "spec": {"ports": [{"port": 1}]}}
        try:
            await self.virtual.call(requests.create(SERVICES, probe, "default", dry_run=True))
        except ApiError as error:
            log.info("admission of Services: %s", error)
            return False
        return self.admission.counts["allowed"] > before

    async def _service_in_place(self) -> bool:
        found = await self.virtual.find(SERVICES, "kubernetes", "default")
        return found is not None and not plan_service(found, self._facts.service_ip)

    async def _own_service(self) -> None:
        """Keep `default/kubernetes` the host Service of this virtual cluster."""
        informer = Informer(self.virtual, SERVICES, "default", field_selector="metadata.name=kubernetes")
        executor = Executor(self.virtual, component="loft-hypervisor")

        async def reconcile(key: str) -> None:
            await executor.execute(plan_service(informer.get(key), self._facts.service_ip))

        controller = Controller("kubernetes-service", reconcile)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            await informer.synced()
            informer.subscribe(lambda key, old, new: controller.enqueue(key))
            controller.enqueue("default/kubernetes")
            group.create_task(controller.run())

    async def _follow_access(self, keeper: Keeper) -> None:
        """Keep the access rules those of ConfigMap `vc-NAME-config`, which changes without a restart."""
        name = f"vc-{self.config.name}-config"
        informer = Informer(self.host, CONFIGMAPS, self.config.namespace, field_selector=f"metadata.name={name}")

        def changed(key: str, old: Object | None, new: Object | None) -> None:
            try:
                keeper.want("access", access_objects(parse_access((new or {}).get("data", {}).get(ACCESS_KEY, ""))))
            except ConfigError as error:
                log.error("the access rules stay as they are: %s", error)

        informer.subscribe(changed)
        await informer.run()

    async def _dns(self) -> None:
        if self.config.dns_enabled:
            config = self.config
            wanted = dns_objects(config.dns_image, replicas=config.dns_replicas, domain=config.cluster_domain)
            await apply_all(self.virtual, wanted)

    async def _publish(self) -> None:
        async def publish() -> None:
            while True:
                await certs.publish_clients(self.host, self.config, self._data, self._facts.owner)
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
        custom_resources=config.custom_resources,
        control_plane={"app.kubernetes.io/name": "virtualcluster", "app.kubernetes.io/instance": config.name},
        blocked_cidrs=config.blocked_cidrs,
    )


async def _refuse(host: Client, config: Config, places: Places, why: str) -> None:
    """Say why no component may begin, and stay: a restart would change nothing. Runs until cancelled."""
    log.error("the control plane is not started: %s", why)
    await problems.note(host, config, f"VersionNotPossible: {why}")

    async def check() -> str:
        return why

    await Health(check, dict).run(places.health_port, places.health_address)


async def run(host_endpoint: Endpoint, config: Config, pod: Pod, places: Places) -> None:
    """Run one replica's hypervisor until cancelled; the other containers of its pod begin when it lets them."""
    async with Client(host_endpoint, user_agent="loft-hypervisor") as host:
        facts, data = await certs.prepare(host, config, pod, places.pki)
        if why := versions.refusal(
            await versions.served_version(host, config), config.kubernetes_version, config.replicas
        ):
            await _refuse(host, config, places, why)
        certs.let_start(places.pki, "etcd", "kube-apiserver")
        endpoint = virtual_endpoint(places, data["ca.crt"])
        async with Client(endpoint, user_agent="loft-hypervisor") as virtual:
            await Hypervisor((host, virtual), config, pod, places).run(facts, data)
