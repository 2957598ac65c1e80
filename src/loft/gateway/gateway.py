"""The gateway of a centre or an agent: Envoy with the control plane around it.

Setters may be called before and while it runs; each takes effect within milliseconds and costs time only for
what changed. Nothing is served that was not set: without a certificate there is no listener.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import grpc

from loft.gateway.access import Access, MayGet
from loft.gateway.authenticate import View
from loft.gateway.authz import AuthorizationServer
from loft.gateway.envoy import listeners, upstreams
from loft.gateway.envoy.bootstrap import AUTHZ_CENTRE_SOCKET, AUTHZ_SOCKET, XDS_SOCKET
from loft.gateway.envoy.upstreams import Resources
from loft.gateway.process import envoy_process
from loft.gateway.resources import encode
from loft.gateway.settings import (
    ApiServerRoute,
    CentreListener,
    ClusterRoute,
    GatewaySettings,
    VirtualClusterRoute,
)
from loft.gateway.xds import DiscoveryServer, Key
from loft.identity.directory import Directory
from loft.identity.subject import Identity
from loft.pki.authority import KeyPair
from loft.supervise.supervisor import Supervisor

log = logging.getLogger(__name__)

_Route = TypeVar("_Route")
_GRPC_OPTIONS = (("grpc.so_reuseport", 0),)
_STOP_S = 1.0


async def _nobody(identity: Identity, namespace: str, name: str) -> bool:
    return False


class Gateway:
    """Runs Envoy and decides about its requests."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        can_get_virtual_cluster: MayGet = _nobody,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare; nothing listens yet.

        `can_get_virtual_cluster`: asked at an agent for requests to virtual clusters; an exception refuses.
        """
        self.settings = settings
        self._view = View(role=settings.role, cluster=settings.cluster, directory=Directory())
        self._access = Access(can_get_virtual_cluster, time.monotonic)
        self._clock = clock
        self._discovery = DiscoveryServer()
        self._parts: dict[str, tuple[object, frozenset[Key]]] = {}
        self._servers: list[grpc.aio.Server] = []
        self._supervisor: Supervisor | None = None
        self._started = asyncio.Event()

    def set_directory(self, directory: Directory) -> None:
        """Decide by this directory from the next request on. It may also be changed in place."""
        self._view.directory = directory

    def set_endpoint_token_key(self, public_key: bytes) -> None:
        """Agent: verify tokens for the direct endpoint with this key (PEM); empty accepts none."""
        self._view.token_key = public_key

    def set_clusters(self, routes: Iterable[ClusterRoute]) -> None:
        """Centre: these are the connected clusters, all of them."""
        given = {route.name: route for route in routes}
        self._put_all("cluster", given, upstreams.agent)
        self._view.clusters = {name: bool(route.endpoint) for name, route in given.items()}

    def set_virtual_clusters(self, routes: Iterable[VirtualClusterRoute]) -> None:
        """Agent: these are the virtual clusters that can be reached, all of them."""
        given = {(route.namespace, route.name): route for route in routes}
        self._put_all("vc", {f"{key[0]}/{key[1]}": route for key, route in given.items()}, upstreams.virtual_cluster)
        self._view.virtual_clusters = {key: route.allow_service_accounts for key, route in given.items()}
        self._access.forget()

    def set_api_server(self, route: ApiServerRoute) -> None:
        """Agent: the API server of its own cluster. A token must be set as well."""
        self._put("apiserver", route, lambda: upstreams.api_server(route))

    def set_impersonator_token(self, token: str) -> None:
        """Agent: the token of the ServiceAccount that may only impersonate; call again when renewed."""
        self._put("token", token, lambda: upstreams.token_secret(token))

    def set_management(self, route: ApiServerRoute) -> None:
        """Centre: the management API."""
        self._put("management", route, lambda: upstreams.management(route))

    def set_platform(self, socket: str) -> None:
        """Centre: the unix socket of the platform's own application (/auth, /version, /agent/v1)."""
        self._put("platform", socket, lambda: upstreams.platform(socket))

    def set_serving_certificate(self, pair: KeyPair) -> None:
        """Serve people with this certificate; open connections keep the old one."""
        self._put("serving", pair, lambda: upstreams.certificate_secret(listeners.SERVING, pair))
        self._put("people", None, lambda: listeners.people(self.settings))
        self._put("plain", None, lambda: listeners.plain(self.settings))

    def set_centre_listener(self, certificates: CentreListener) -> None:
        """Agent: serve the centre with this certificate, and know it by that authority."""
        if self.settings.role != "agent":
            raise ValueError("only an agent has a listener for the centre")
        secrets = {
            **upstreams.certificate_secret(listeners.CENTRE_SERVING, certificates.serving),
            **upstreams.authority_secret(listeners.CENTRE_AUTHORITY, certificates.client_ca),
        }
        self._put("centre-secrets", certificates, lambda: secrets)
        self._put("centre", None, lambda: listeners.centre(self.settings))

    def forget_permissions(self) -> None:
        """Ask anew who may reach which virtual cluster; call it when roles or bindings change."""
        self._access.forget()

    async def run(self) -> None:
        """Serve until cancelled; then stop Envoy and remove the sockets."""
        self.settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings.directory.chmod(0o700)
        self._servers = [
            await self._serve(XDS_SOCKET, self._discovery.handler()),
            await self._serve(AUTHZ_SOCKET, self._authorization(from_centre=False).handler()),
            await self._serve(AUTHZ_CENTRE_SOCKET, self._authorization(from_centre=True).handler()),
        ]
        self._supervisor = Supervisor([envoy_process(self.settings)], pid_directory=self.settings.directory)
        self._started.set()
        try:
            await self._supervisor.run()
        finally:
            self._started.clear()
            await asyncio.gather(*(server.stop(_STOP_S) for server in self._servers))

    async def ready(self) -> None:
        """Wait until Envoy runs and serves all that has been set so far."""
        await self._started.wait()
        assert self._supervisor is not None, "set before _started"
        await self._supervisor.ready()
        await self._discovery.settled()

    async def settled(self) -> None:
        """Wait until Envoy has taken (or rejected) all that has been set so far."""
        await self._discovery.settled()

    def rejected(self) -> list[str]:
        """Return what Envoy did not take, in its words; empty when all is well."""
        return list(self._discovery.rejected)

    def _authorization(self, *, from_centre: bool) -> AuthorizationServer:
        return AuthorizationServer(self._view, self._access, self._clock, from_centre=from_centre)

    async def _serve(self, socket: str, handler: grpc.GenericRpcHandler) -> grpc.aio.Server:
        path = self.settings.directory / socket
        path.unlink(missing_ok=True)
        server = grpc.aio.server(options=_GRPC_OPTIONS)
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        return server

    def _put_all(self, kind: str, routes: Mapping[str, _Route], build: Callable[[_Route], Resources]) -> None:
        """Put in place what is given of a kind, take away what is not given any more.

        A route that cannot be built is left out and logged: it must not stand in the way of the others.
        """
        for name, route in routes.items():
            try:
                self._put(f"{kind}:{name}", route, partial(build, route))
            except ValueError as error:
                log.error("no way to %s %s: %s", kind, name, error)
                self._take_away(f"{kind}:{name}")
        prefix = f"{kind}:"
        for part in [part for part in self._parts if part.startswith(prefix)]:
            if part.removeprefix(prefix) not in routes:
                self._take_away(part)

    def _take_away(self, part: str) -> None:
        if (old := self._parts.pop(part, None)) is not None:
            self._discovery.change({}, old[1])

    def _put(self, part: str, source: object, build: Callable[[], Resources]) -> None:
        """Build and send one part of the configuration, unless its source has not changed."""
        old_source, old_keys = self._parts.get(part, (None, frozenset()))
        if part in self._parts and old_source == source:
            return
        built = {key: encode(key[0], body) for key, body in build().items()}
        self._parts[part] = (source, frozenset(built))
        self._discovery.change(built, old_keys - built.keys())
