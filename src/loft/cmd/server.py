"""The central instance: gateway, management API, sign-in, and the agents of connected clusters."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

import loft
from loft.api.cluster import Cluster
from loft.api.management import ClusterConnect, ClusterConnectStatus
from loft.apiserver.app import ApiServer
from loft.apiserver.authorize import Reviewer
from loft.apiserver.caller import Caller
from loft.apiserver.listener import open_socket, serve
from loft.apiserver.trust import Authority, Trust, follow_requestheader
from loft.cmd.process import Job, Place, main, read_config, read_place, run_jobs, until
from loft.cmd.server_config import ServerConfig
from loft.cmd.server_people import People, ensure_admin
from loft.cmd.serving import follow_certificate, register
from loft.core.resource import CLUSTERS
from loft.gateway.gateway import Gateway
from loft.gateway.settings import CENTRE_URI, ApiServerRoute, ClusterRoute, GatewaySettings
from loft.identity.endpointtoken import EndpointToken, sign
from loft.kube.client import Client
from loft.kube.config import from_environment
from loft.kube.errors import ApiError
from loft.kube.informer import Informer
from loft.kube.leader import Leader
from loft.kube.request import Request
from loft.management.group import Deployment, management_group
from loft.pki.authority import KeyPair, due, fingerprint, issue, new_authority
from loft.tenancy.cluster import plan
from loft.tenancy.cluster.authority import Keys, centre_keys
from loft.tenancy.cluster.certificates import split
from loft.tenancy.cluster.connect import AgentSettings
from loft.tenancy.cluster.direct import DirectEndpoints
from loft.tenancy.cluster.tokens import Tokens
from loft.tenancy.cluster.watch import Clusters, Home
from loft.tenancy.replica.publisher import Publisher
from loft.web import app as web
from loft.web.agents import Agents
from loft.web.login import Login

log = logging.getLogger(__name__)

API_PORT = 8443
RENEWAL_S = 3600.0
GATEWAY_NAME = "loft-gateway"
APISERVICE = "v1.management.loft.sh"
APISERVICE_HOST = "loft-apiservice"


class Server:
    """All parts of one replica of the centre."""

    def __init__(self, client: Client, place: Place, config: ServerConfig, keys: Keys) -> None:
        self._client, self._place, self._config, self._keys = client, place, config, keys
        self._changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
        settings = GatewaySettings(
            role="centre", directory=place.run / "gateway", trusted_proxy_hops=config.trusted_proxy_hops
        )
        self.gateway = Gateway(settings)
        self.people = People(client, self._people_changed)
        self.publisher = Publisher(
            self.people.directory,
            signing_public_key=keys.token_public,
            lease_s=config.lease_seconds,
            connected=lambda name, is_there: self._changes.put_nowait((name, is_there)),
        )
        self.cluster_objects = Informer(client, CLUSTERS)
        self.tokens = Tokens(client, place.namespace, self.cluster_objects)
        agents = AgentSettings(
            url=config.agent_url,
            ca=config.agent_ca.encode() or keys.ca.cert,
            authority=keys.ca.cert,
            image=config.agent_image,
            service_type=config.agent_service_type,
        )
        home = Home(namespace=place.namespace, url=f"https://loft.{place.namespace}.svc", ca=keys.ca.cert)
        self.clusters = Clusters(client, self.cluster_objects, self.tokens, self.publisher, (agents, home))
        self.direct_endpoints = DirectEndpoints(client, self.cluster_objects, keys.ca.cert)
        # The gateway's certificate for the management API is made by an authority that only this process knows.
        front = new_authority("loft-front-proxy", self._now())
        self._front = issue(front, common_name=GATEWAY_NAME, usage="client", now=self._now(), days=3650)
        authority = Authority(name="gateway", ca=front.cert, allowed_names=(GATEWAY_NAME,), ours_only=True)
        self._trust = Trust(self._api_certificate(), (authority,))
        self._centre = self._centre_certificate()
        self._serving = self._people_certificate()

    def jobs(self) -> tuple[dict[str, Job], dict[str, Job]]:
        """Return what serves and what works."""
        serving: dict[str, Job] = {
            "gateway": self.gateway.run,
            "management": self._serve_management,
            "platform": self._serve_platform,
            "people": self.people.run,
            "clusters": self.cluster_objects.run,
            "tokens": self.tokens.run,
            "publisher": self.publisher.run,
            "certificates": self._keep_certificates,
            "requestheader": partial(follow_requestheader, self._client, self._trust),
        }
        if self._config.certificate_secret:
            serving["certificate"] = partial(
                follow_certificate,
                self._client,
                self._place.namespace,
                self._config.certificate_secret,
                self.gateway.set_serving_certificate,
            )
        working: dict[str, Job] = {
            "leader": self._lead,
            "connections": partial(self.clusters.keep_connections, self._changes),
            "seen": self.clusters.keep_seen,
            "activity": self.people.keep_activity,
        }
        return serving, working

    async def begin(self) -> None:
        """Open the gateway to the world when everything behind it is there."""
        await self.people.synced()
        await self.cluster_objects.synced()
        await self.tokens.synced()
        self.gateway.set_directory(self.people.directory)
        self.cluster_objects.subscribe(self._cluster_changed)
        self._set_routes()
        self._use_front_certificates()
        self.gateway.set_platform(str(self._socket))
        if not self._config.certificate_secret:
            self.gateway.set_serving_certificate(self._serving)

    async def _lead(self) -> None:
        leader = Leader(self._client, self._place.namespace, "loft", self._place.identity)
        await leader.run(self._work)

    async def _work(self) -> None:
        await ensure_admin(self._client, self._place.namespace, self._config.admin_username, self._config.admin_email)
        if self._config.local_cluster:
            await self.clusters.ensure_local(self._config.local_cluster, self._config.local_cluster_display_name)
        if self._config.api_service:
            await register(self._client, APISERVICE, self._keys.ca.cert)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.clusters.run())
            group.create_task(self.direct_endpoints.run())

    async def _serve_management(self) -> None:
        reviewer = Reviewer(self._client)
        deployment = Deployment(
            client=self._client,
            reviewer=reviewer,
            namespace=self._place.namespace,
            sign=self._sign,
            connect=self._connect,
        )
        server = ApiServer((management_group(deployment),), version=loft.__version__)
        await serve(server, open_socket("0.0.0.0", API_PORT), self._trust)

    async def _serve_platform(self) -> None:
        login = Login(self._client, self._place.namespace, self.people.directory)
        agents = Agents(self.tokens, self.publisher, self._keys.ca)
        version = await self._client.call(Request("GET", "/version"))
        app = web.platform_app(
            login,
            agents,
            version=loft.__version__,
            # As long as the authority stays, it is the same installation.
            instance=fingerprint(self._keys.ca.cert)[:32],
            kube_version=str(version["gitVersion"]),
        )
        await web.serve(app, self._socket)

    @property
    def _socket(self) -> Path:
        return self._place.run / "platform.sock"

    def _sign(self, token: EndpointToken, now: datetime) -> str:
        return sign(token, self._keys.token_private, now)

    async def _connect(self, wish: ClusterConnect, caller: Caller) -> ClusterConnectStatus:
        return await self.clusters.connect(wish, caller.user_name)

    def _people_changed(self) -> None:
        self.publisher.changed()

    def _cluster_changed(self, key: str, _old: object, _new: object) -> None:
        self._set_routes()

    def _set_routes(self) -> None:
        routes = []
        for found in self.cluster_objects.list():
            cluster = msgspec.convert(found, Cluster)
            name = cluster.metadata.name
            self.publisher.set_hosts(name, plan.direct_hosts(cluster))
            routes.append(
                ClusterRoute(
                    name=name,
                    endpoint=cluster.status.agent_endpoint,
                    ca=self._keys.ca.cert,
                    client=self._centre,
                    server_name=plan.agent_name(name),
                )
            )
        self.gateway.set_clusters(routes)

    # Certificates

    def _now(self) -> datetime:
        return datetime.now(UTC)

    def _api_certificate(self) -> KeyPair:
        names = [f"{APISERVICE_HOST}.{self._place.namespace}.svc", "localhost"]
        return issue(
            self._keys.ca,
            common_name=APISERVICE_HOST,
            dns=names,
            ips=("127.0.0.1",),
            usage="server",
            now=self._now(),
            days=90,
        )

    def _centre_certificate(self) -> KeyPair:
        return issue(self._keys.ca, common_name="loft", uris=(CENTRE_URI,), usage="client", now=self._now(), days=90)

    def _people_certificate(self) -> KeyPair:
        namespace = self._place.namespace
        own = [f"loft.{namespace}.svc", f"loft.{namespace}", "localhost", "127.0.0.1"]
        agent_host = plan.host_of(self._config.agent_url) if self._config.agent_url else ""
        names = split([*self._config.hosts, *filter(None, (agent_host,)), *own])
        return issue(
            self._keys.ca,
            common_name="loft",
            dns=names["dns"],
            ips=names["ips"],
            usage="server",
            now=self._now(),
            days=90,
        )

    def _use_front_certificates(self) -> None:
        self.gateway.set_management(
            ApiServerRoute(address=f"127.0.0.1:{API_PORT}", ca=self._keys.ca.cert, client=self._front)
        )

    async def _keep_certificates(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_S)
            now = self._now()
            if due(self._serving.cert, now) and not self._config.certificate_secret:
                self._serving = self._people_certificate()
                self.gateway.set_serving_certificate(self._serving)
            if due(self._centre.cert, now):
                self._centre = self._centre_certificate()
                self._set_routes()
                self._trust.set_certificate(self._api_certificate())


async def run(stop: asyncio.Event) -> None:
    """Run one replica of the centre until `stop` is set."""
    config, place = read_config(os.environ, ServerConfig), read_place(os.environ)
    async with Client(from_environment(), user_agent=f"loft-server/{loft.__version__}") as client:
        keys = await _keys(client, place, stop)
        if keys is None:
            return
        server = Server(client, place, config, keys)
        serving, working = server.jobs()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(run_jobs(stop, serving=serving, working=working))
            if await until(stop, server.begin()):
                await server.gateway.ready()
                log.info("the centre serves")
            await running


async def _keys(client: Client, place: Place, stop: asyncio.Event) -> Keys | None:
    """Get the keys; the API server may need a moment, as after the start of the whole machine."""
    while not stop.is_set():
        try:
            return await centre_keys(client, place.namespace, datetime.now(UTC))
        except ApiError as error:
            log.warning("the centre's keys cannot be read: %s", error)
            await asyncio.sleep(1.0)
    return None


if __name__ == "__main__":
    main("loft-server", run)
