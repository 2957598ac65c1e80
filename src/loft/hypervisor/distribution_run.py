"""The hypervisor beside a control plane that is not ours: everything through its API, nothing by its files.

Its API server has no egress selector of ours, so it dials: the webhook on the pod's loopback, and the kubelet API of
all virtual nodes at the pod's address. There a caller proves itself by a certificate of the cluster's own authority
and is asked about at the API server, as at every kubelet.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import ssl
import stat
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import msgspec

from loft.core.resource import CONFIGMAPS, CSRS, SUBJECTACCESSREVIEWS
from loft.hypervisor import certs, problems
from loft.hypervisor.certificates import (
    ADMIN_GROUP,
    ADMIN_USER,
    GATEWAY_USER,
    ClientPairs,
    check_interval_s,
)
from loft.hypervisor.config import Config, Pod
from loft.hypervisor.core import objects
from loft.hypervisor.distribution import (
    AUTHENTICATION,
    NODE_USER,
    NODES_GROUP,
    Object,
    Signer,
    access_review,
    admin_endpoint,
    approved,
    lacking,
    signing_request,
)
from loft.hypervisor.egress_rules import LOOPBACK, Target
from loft.hypervisor.health import Health
from loft.hypervisor.http1 import close, held
from loft.hypervisor.inside import WEBHOOK_PORT
from loft.hypervisor.kubelet import Kubelet
from loft.hypervisor.neighbours import Neighbours
from loft.hypervisor.replica import Places
from loft.hypervisor.run import Hypervisor
from loft.hypervisor.serving import Peer, ServingContexts, server_context
from loft.hypervisor.splice import Stream
from loft.kube.client import Client
from loft.kube.config import SIZE_MAX, ConfigError, Endpoint
from loft.kube.errors import ApiError
from loft.kube.keep import lasting
from loft.kube.request import Request
from loft.pki.authority import KeyPair, due
from loft.pki.request import new_request

log = logging.getLogger(__name__)

LOOK_S = 0.25
LOOK_AGAIN_S = 5.0
SIGNED_S = 60.0
CONNECTIONS_MAX = 1024

Serve = Callable[[Target, Stream], Awaitable[None]]


class ForeignHypervisor(Hypervisor):
    """The hypervisor of a virtual cluster with another control plane."""

    def __init__(
        self, clients: tuple[Client, Client], config: Config, pod: Pod, places: Places, endpoint: Endpoint
    ) -> None:
        super().__init__(clients, config, pod, places)
        self._endpoint = endpoint
        self._serving: KeyPair | None = None
        self._kubelet_context: ssl.SSLContext | None = None
        self._open = 0

    async def check(self) -> str:
        """Return "" when the virtual cluster can be used, else what is missing: its signer takes some seconds."""
        if self._kubelet_context is None:
            return "waiting for the certificate of the virtual nodes"
        if not self.published.is_set():
            return "waiting for the certificates of its clients"
        return await super().check()

    def _serve(self, group: asyncio.TaskGroup, neighbours: Neighbours, contexts: ServingContexts) -> None:
        kubelet = Kubelet(self.host, neighbours, self.metrics, context=self._context, may_call=self._may_call)
        self.connections = {"kubelet": 0, "webhook": 0, "failed": 0}
        address = self.places.kubelet_address or self.pod.address
        webhook, node = Target(LOOPBACK, WEBHOOK_PORT), Target(address, self.settings.kubelet_port)
        for way, target, serve in (("webhook", webhook, self.admission.serve), ("kubelet", node, kubelet.serve)):
            group.create_task(lasting(way, partial(self._listen, way, target, serve)))
        group.create_task(lasting("kubeconfig", self._follow_kubeconfig))

    async def _listen(self, way: str, target: Target, serve: Serve) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections[way] += 1
            self._open += 1
            try:
                if self._open <= CONNECTIONS_MAX:
                    await serve(target, (reader, writer))
            except (OSError, TimeoutError, EOFError) as error:
                self.connections["failed"] += 1
                log.debug("%s: %s", way, error)
            finally:
                self._open -= 1
                await close(writer)

        async with await asyncio.start_server(held(accept), target.address, target.port) as server:
            await server.serve_forever()

    def _context(self, address: str) -> ssl.SSLContext:
        if self._kubelet_context is None:
            raise ConnectionRefusedError("the certificate of the virtual nodes is not issued yet")
        return self._kubelet_context

    async def _may_call(self, caller: Peer) -> bool:
        if not caller.name:
            return False
        try:
            answer = await self.virtual.create(SUBJECTACCESSREVIEWS, access_review(caller.name, caller.groups))
        except ApiError as error:
            log.warning("whether %s may use the kubelet API: %s", caller.name, error)
            return False
        return bool(answer["status"].get("allowed") is True)

    async def _renew(self) -> None:
        while True:
            if self._serving is None or due(self._serving.cert, datetime.now(UTC)):
                as_node = msgspec.structs.replace(
                    self._endpoint, impersonate_user=NODE_USER, impersonate_groups=(NODES_GROUP, "system:authenticated")
                )
                async with Client(as_node, user_agent="loft-hypervisor") as node:
                    key, request = new_request(NODE_USER, organizations=(NODES_GROUP,), ips=(self.pod.address,))
                    self._serving = await self._signed("kubernetes.io/kubelet-serving", node, (key, request))
                client_ca = self._data["client-ca.crt"]
                self._kubelet_context = server_context(self._serving, client_ca=client_ca)
                log.info("the virtual nodes have a certificate of the cluster's own signer")
            await asyncio.sleep(check_interval_s(self.config.certificate_hours))

    async def _client_pairs(self) -> ClientPairs:
        admin, gateway = [
            await self._signed("kubernetes.io/kube-apiserver-client", self.virtual, request)
            for request in (new_request(ADMIN_USER, organizations=(ADMIN_GROUP,)), new_request(GATEWAY_USER))
        ]
        return ClientPairs(admin=admin, gateway=gateway)

    async def _signed(self, signer: Signer, asker: Client, pair: tuple[bytes, bytes]) -> KeyPair:
        """Have a request signed by the cluster. Raises: ApiError, TimeoutError when nobody signs."""
        key, request = pair
        made = await asker.create(CSRS, signing_request(signer, request, self.config.certificate_hours))
        name = objects.name(made)
        try:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            await self.virtual.update(CSRS, approved(made, now), subresource="approval")
            async with asyncio.timeout(SIGNED_S):
                while True:
                    status = objects.status(await self.virtual.get(CSRS, name))
                    if status.get("certificate"):
                        return KeyPair(cert=base64.b64decode(status["certificate"]), key=key)
                    _raise_if_failed(status, signer)
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            log.error("no certificate from %s: does a controller of the distribution sign?", signer)
            raise
        finally:
            with contextlib.suppress(ApiError):
                await self.virtual.delete(CSRS, name, uid=objects.uid(made))

    async def _follow_kubeconfig(self) -> None:
        """End when the image has written another kubeconfig: what was read of it is used everywhere."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            with contextlib.suppress(OSError, ConfigError):
                if _read(self.config, self.places) != self._endpoint:
                    break
        raise ConfigError("the kubeconfig of the distribution has changed; starting over with it")


def _raise_if_failed(status: Object, signer: Signer) -> None:
    for condition in status.get("conditions") or ():
        if condition.get("type") in ("Failed", "Denied"):
            raise ApiError(0, "NotSigned", f"{signer}: {condition.get('message') or condition['type']}")


def _read(config: Config, places: Places) -> Endpoint:
    """Read the image's kubeconfig. Raises: OSError when it is not there or no plain file, ConfigError."""
    assert config.distribution is not None, "chosen by it"
    path = places.distribution / config.distribution.kubeconfig
    # The image decides what is there: neither a link to one of our files nor a pipe that nobody writes to.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is no plain file")
        return admin_endpoint(file.read(SIZE_MAX + 1), places.api_server)


class Waiting:
    """What a distribution still lacks before the hypervisor can begin; told by the probes meanwhile."""

    def __init__(self, host: Client, config: Config, places: Places) -> None:
        self._host, self._config, self._places = host, config, places
        self._missing = ""

    async def endpoint(self, service_ip: str) -> tuple[Endpoint, bytes]:
        """Wait until the API server can be used; return the administrator's endpoint and the clients' authority."""
        health = Health(self._check, dict)
        work = asyncio.ensure_future(health.run(self._places.health_port, self._places.health_address))
        try:
            while True:
                try:
                    return await self._look(service_ip)
                except FileNotFoundError:
                    await self._say("waiting for the distribution's kubeconfig")
                    await asyncio.sleep(LOOK_S)
                except (OSError, ValueError, ApiError) as error:
                    text = str(error).strip().rpartition("\n")[2]
                    await self._say(f"the distribution cannot be used: {text}")
                    await asyncio.sleep(LOOK_AGAIN_S if isinstance(error, ValueError) else LOOK_S)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _check(self) -> str:
        return self._missing

    async def _say(self, missing: str) -> None:
        if missing != self._missing:
            log.info("%s", missing)
        self._missing = missing

    async def _look(self, service_ip: str) -> tuple[Endpoint, bytes]:
        """Raises: OSError, ConfigError, ApiError, ValueError for a certificate that lacks names."""
        config = self._config
        endpoint = _read(config, self._places)
        async with Client(endpoint, user_agent="loft-hypervisor") as virtual:
            await virtual.raw(Request("GET", "/readyz"))
            found = await virtual.get(CONFIGMAPS, AUTHENTICATION[1], AUTHENTICATION[0])
        host, port = endpoint.server.removeprefix("https://").rsplit(":", 1)
        cert = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=10)
        missing = lacking(cert.encode(), [f"{config.name}.{config.namespace}.svc"], [service_ip])
        problem = (
            f"its API server's certificate is not valid for {', '.join(missing)}, by which it is reached; "
            "give it the names that distribution.args can refer to"
            if missing
            else ""
        )
        await problems.note(self._host, config, f"CertificateLacksNames: {problem}" if problem else "")
        if problem:
            raise ConfigError(problem)
        return endpoint, str((found.get("data") or {}).get("client-ca-file") or "").encode()


async def run(host: Client, config: Config, pod: Pod, places: Places) -> None:
    """Run the hypervisor beside the distribution until cancelled."""
    facts = await certs.host_facts(host, config)
    data = await certs.authorities(host, config, facts.owner)
    endpoint, client_ca = await Waiting(host, config, places).endpoint(facts.service_ip)
    data = data | {"ca.crt": endpoint.ca_data, "client-ca.crt": client_ca or endpoint.ca_data}
    async with Client(endpoint, user_agent="loft-hypervisor") as virtual:
        await ForeignHypervisor((host, virtual), config, pod, places, endpoint).run(facts, data)
