"""The agent of a connected cluster: gateway, the API of spaces, virtual clusters, and the copy of users and keys."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import loft
from loft.apiserver.app import ApiServer
from loft.apiserver.authorize import Reviewer
from loft.apiserver.listener import open_socket, serve
from loft.apiserver.trust import Trust, follow_requestheader
from loft.cluster.group import cluster_group
from loft.cluster.keeping import keep_owners
from loft.cluster.tenants import Tenants
from loft.cmd.agent_access import keep_impersonator_token, may_get, service_cidr
from loft.cmd.agent_centre import Link, wait_for_centre, watch_centre
from loft.cmd.agent_config import AgentConfig
from loft.cmd.process import Job, Place, main, read_config, read_place, run_jobs, until
from loft.cmd.serving import follow_certificate, register
from loft.gateway.gateway import Gateway
from loft.gateway.settings import ApiServerRoute, GatewaySettings, VirtualClusterRoute
from loft.helm.charts import chart_path, read_chart
from loft.kube.client import Client
from loft.kube.config import from_environment
from loft.kube.leader import Leader
from loft.pki.authority import KeyPair
from loft.tenancy.replica.follower import Centre
from loft.tenancy.virtualcluster.deployer import Deployer
from loft.tenancy.virtualcluster.reach import Way, Ways
from loft.tenancy.virtualcluster.values import CHART_NAME, Facts
from loft.tenancy.virtualcluster.watch import VirtualClusters, caches
from loft.tenancy.warmpool.watch import keep_warm

log = logging.getLogger(__name__)

API_PORT = 8443
APISERVICE = "v1.cluster.loft.sh"
APISERVICE_HOST = "loft-agent-apiservice"
SERVICE_ACCOUNT = "loft-agent"
RENEWAL_S = 24 * 3600.0


class Agent:
    """All parts of one replica of an agent."""

    def __init__(self, client: Client, place: Place, config: AgentConfig, centre: Centre) -> None:
        self._client, self._place, self._config, self._centre = client, place, config, centre
        settings = GatewaySettings(
            role="agent",
            directory=place.run / "gateway",
            cluster=centre.cluster,
            trusted_proxy_hops=config.trusted_proxy_hops,
        )
        self.gateway = Gateway(settings, can_get_virtual_cluster=partial(may_get, client))
        self.link = Link(client, place.namespace, centre, self.gateway)
        self.link.serves_people = not config.certificate_secret
        self.link.set_extra_hosts(tuple(config.hosts))
        self._tenants = Tenants(client)
        self._reviewer = Reviewer(client)
        self._caches = caches(client)
        self._ways = Ways(client, *self._caches, changed=self._reach)
        self._authority: KeyPair | None = None
        self._trust: Trust | None = None

    async def prepare(self) -> None:
        """Get what all else needs. Raises: ApiError."""
        self._authority = await self.link.credentials.own_authority()
        self._trust = Trust(self._api_certificate(self._authority))
        await self.link.restore()

    def jobs(self, stop: asyncio.Event) -> tuple[dict[str, Job], dict[str, Job]]:
        """Return what serves and what works."""
        client, namespace = self._client, self._place.namespace
        assert self._trust is not None, "prepared before"
        serving: dict[str, Job] = {
            "gateway": self.gateway.run,
            "cluster-api": self._serve_api,
            "requestheader": partial(follow_requestheader, client, self._trust),
            "tenants": self._tenants.run,
            "virtual-clusters": self._caches[0].run,
            "stateful-sets": self._caches[1].run,
            "ways": self._ways.run,
            "replica": self.link.follow,
            "certificates": self.link.keep_certificates,
            "own-certificates": self._renew,
            "impersonator": partial(keep_impersonator_token, client, namespace, self.gateway.set_impersonator_token),
        }
        if self._config.certificate_secret:
            serving["certificate"] = partial(
                follow_certificate,
                client,
                namespace,
                self._config.certificate_secret,
                self.gateway.set_serving_certificate,
            )
        working: dict[str, Job] = {
            "leader": self._lead,
            "centre": partial(watch_centre, client, namespace, self._centre, stop.set),
        }
        return serving, working

    async def begin(self) -> None:
        """Open the gateway when it knows whom to let in and where to."""
        server = self._client.endpoint
        address = server.server.removeprefix("https://")
        self.gateway.set_api_server(ApiServerRoute(address=address, ca=server.ca_data))
        self._tenants.bindings.subscribe(lambda *_: self.gateway.forget_permissions())
        await self._tenants.synced()
        await self.link.known()
        if not self._config.certificate_secret and await self.link.credentials.stored() is None:
            assert self._authority is not None, "prepared before"
            names = [*self._config.hosts, f"loft-agent.{self._place.namespace}.svc", "localhost", "127.0.0.1"]
            self.gateway.set_serving_certificate(self.link.credentials.own_certificate(self._authority, names))

    async def _lead(self) -> None:
        leader = Leader(self._client, self._place.namespace, "loft-agent", self._place.identity)
        await leader.run(self._work)

    async def _work(self) -> None:
        assert self._authority is not None, "prepared before"
        if self._config.api_service:
            await register(self._client, APISERVICE, self._authority.cert)
        chart = chart_path(CHART_NAME)
        facts = Facts(
            service_cidr=await service_cidr(self._client),
            agent_namespace=self._place.namespace,
            agent_service_account=SERVICE_ACCOUNT,
            chart_version=read_chart(chart).version,
            chart_digest=digest_of(chart),
            defaults=self._config.virtual_cluster_defaults,
            fixed=self._config.virtual_cluster_fixed,
        )
        deployer = Deployer(self._client, helm_home=Path(self._place.run) / "helm")
        virtual_clusters = VirtualClusters(self._client, self._caches, deployer, facts)
        async with asyncio.TaskGroup() as group:
            group.create_task(virtual_clusters.run())
            group.create_task(keep_owners(self._client, self._tenants))
            group.create_task(self.link.store())
            group.create_task(keep_warm(self._client, self._caches[0], self._config.warm_virtual_clusters))

    async def _serve_api(self) -> None:
        assert self._trust is not None, "prepared before"
        group = cluster_group(self._client, self._reviewer, self._tenants, self._caches[0])
        server = ApiServer((group,), version=loft.__version__)
        await serve(server, open_socket("0.0.0.0", API_PORT), self._trust)

    def _reach(self, ways: Iterable[Way]) -> None:
        self.gateway.set_virtual_clusters(
            VirtualClusterRoute(
                namespace=way.namespace,
                name=way.name,
                address=way.address,
                ca=way.ca,
                client=way.client,
                allow_service_accounts=way.allow_service_accounts,
            )
            for way in ways
        )

    def _api_certificate(self, authority: KeyPair) -> KeyPair:
        return self.link.credentials.own_certificate(
            authority, [f"{APISERVICE_HOST}.{self._place.namespace}.svc", "localhost"]
        )

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_S)
            assert self._trust is not None and self._authority is not None, "prepared before"
            self._trust.set_certificate(self._api_certificate(self._authority))


def digest_of(chart: Path) -> str:
    """Return a digest over the files of a chart."""
    digest = hashlib.sha256()
    for path in sorted(chart.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(chart)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


async def run(stop: asyncio.Event) -> None:
    """Run one replica of an agent until `stop` is set."""
    config, place = read_config(os.environ, AgentConfig), read_place(os.environ)
    async with Client(from_environment(), user_agent=f"loft-agent/{loft.__version__}") as client:
        found: list[Centre] = []

        async def look() -> None:
            found.append(await wait_for_centre(client, place.namespace))

        if not await until(stop, look()):
            return
        agent = Agent(client, place, config, found[0])
        await agent.prepare()
        serving, working = agent.jobs(stop)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(run_jobs(stop, serving=serving, working=working))
            if await until(stop, agent.begin()):
                await agent.gateway.ready()
                log.info("the agent of cluster %s serves", found[0].cluster)
            await running


if __name__ == "__main__":
    main("loft-agent", run)
