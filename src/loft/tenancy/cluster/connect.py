"""Connects a cluster: checks what its kubeconfig leads to, installs the agent with it, and forgets it.

The kubeconfig comes from outside and is an administrator's: only inline data is taken, it never reaches a log, a
disk that stays, or an object, and is used for this one installation.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from loft.core.resource import SECRETS, SELFSUBJECTACCESSREVIEWS, SERVICES
from loft.helm.binary import Helm, HelmError
from loft.helm.charts import chart_path
from loft.kube.client import Client
from loft.kube.config import ConfigError, Endpoint, parse_kubeconfig
from loft.kube.errors import ApiError
from loft.kube.request import Request
from loft.kube.tls import tls_context
from loft.tenancy.cluster.plan import (
    AGENT_SECRET,
    AGENT_SERVICE,
    Refused,
    agent_name,
    check_server,
    service_endpoint,
)
from loft.tenancy.cluster.probe import proves

log = logging.getLogger(__name__)

Object = dict[str, Any]
RELEASE = "loft-agent"
HELM_S = 90.0
ENDPOINT_S = 30.0
CALL_BACK_S = 90.0
REACH_S = 15.0


class ConnectError(Exception):
    """The cluster cannot be connected; the message says why and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What agents in other clusters are told."""

    url: str
    """https://host:port under which they reach the centre; without it no cluster can be connected."""
    ca: bytes
    """PEM by which they trust that address."""
    authority: bytes
    """PEM of the authority of the agents' own certificates."""
    image: str
    service_type: str = "NodePort"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the agent goes."""

    cluster: str
    namespace: str
    endpoint: Endpoint


async def read_kubeconfig(data: bytes) -> Endpoint:
    """Return where a kubeconfig leads, if it may lead there. Raises: ConnectError."""
    try:
        endpoint = parse_kubeconfig(data, inline_only=True)
        tls_context(endpoint)  # whether its certificates and key are any
    except ConfigError as error:
        raise ConnectError("InvalidKubeConfig", f"the kubeconfig cannot be used: {error}") from error
    if endpoint.insecure:
        raise ConnectError(
            "InvalidKubeConfig",
            "insecure-skip-tls-verify is refused: give the cluster's authority in certificate-authority-data",
        )
    parts = urlsplit(endpoint.server)
    host, port = parts.hostname or "", parts.port or 443
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        text = f"the host {host} of the kubeconfig is not known at the central instance: {error.strerror}"
        raise ConnectError("Unreachable", text) from error
    try:
        check_server(endpoint.server, [str(entry[4][0]).partition("%")[0] for entry in found])
    except Refused as error:
        raise ConnectError("ServerRefused", str(error)) from error
    return endpoint


async def check_rights(client: Client, place: Place, settings: AgentSettings) -> str:
    """See whether the API server answers, lets us install, and belongs to no other centre; return its version.

    Raises: ConnectError.
    """
    server = place.endpoint.server
    try:
        async with asyncio.timeout(REACH_S):
            version = await client.call(Request("GET", "/version"))
            review = {
                "apiVersion": SELFSUBJECTACCESSREVIEWS.api_version,
                "kind": SELFSUBJECTACCESSREVIEWS.kind,
                "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}},
            }
            allowed = (await client.create(SELFSUBJECTACCESSREVIEWS, review)).get("status") or {}
            other = await client.find(SECRETS, AGENT_SECRET, place.namespace) if allowed.get("allowed") else None
    except TimeoutError:
        raise ConnectError("Unreachable", f"{server} does not answer within {REACH_S:.0f} s") from None
    except ApiError as error:
        reason = "Unreachable" if not error.status else "Unauthorized" if error.status == 401 else error.reason
        raise ConnectError(reason, f"{server}: {error.message}") from error
    if not allowed.get("allowed"):
        raise ConnectError(
            "NotAdministrator", "the kubeconfig's user is not an administrator of the cluster (cluster-admin is needed)"
        )
    if other is not None and (theirs := _text(other, "url")) not in ("", settings.url):
        raise ConnectError(
            "ConnectedElsewhere",
            f"the cluster is connected to {theirs} already; remove its agent first (helm uninstall {RELEASE})",
        )
    return str(version.get("gitVersion", ""))


def agent_values(place: Place, token: str, settings: AgentSettings) -> Object:
    """Return the chart values of an agent. Pure."""
    return {
        "image": settings.image,
        "centre": {
            "url": settings.url,
            "ca": settings.ca.decode(),
            "token": token,
            "cluster": place.cluster,
        },
        "service": {"type": settings.service_type},
    }


async def install_agent(place: Place, token: str, settings: AgentSettings) -> str:
    """Install the agent and return host:port of its listener for the centre. Raises: ConnectError."""
    if not settings.url:
        raise ConnectError(
            "NoAgentAddress",
            "the central instance does not know under which address agents reach it: set agents.url of chart loft",
        )
    async with Client(place.endpoint, user_agent="loft-connect", limit=4) as client:
        await check_rights(client, place, settings)
        try:
            await Helm(place.endpoint).install(
                RELEASE,
                place.namespace,
                chart_path("loft-agent"),
                agent_values(place, token, settings),
                timeout_s=HELM_S,
                create_namespace=True,
            )
        except HelmError as error:
            raise ConnectError("HelmFailed", f"the agent could not be installed: {error}") from error
        return await _endpoint(client, place)


async def _endpoint(client: Client, place: Place) -> str:
    host = urlsplit(place.endpoint.server).hostname or ""
    for _ in range(int(ENDPOINT_S / 0.5)):
        try:
            service = await client.get(SERVICES, AGENT_SERVICE, place.namespace)
        except ApiError as error:
            raise ConnectError(error.reason, f"Service {AGENT_SERVICE}: {error.message}") from error
        if endpoint := service_endpoint(service, host):
            return endpoint
        await asyncio.sleep(0.5)
    raise ConnectError(
        "NoAgentEndpoint",
        f"Service {place.namespace}/{AGENT_SERVICE} has no address yet: does the cluster give load balancers?",
    )


async def wait_for_call(is_connected: Callable[[], bool], endpoint: str, cluster: str, settings: AgentSettings) -> None:
    """Wait until the agent has called the centre, and answers it in turn. Raises: ConnectError."""
    deadline = asyncio.get_running_loop().time() + CALL_BACK_S
    parts = urlsplit(f"//{endpoint}")
    is_here = False
    while asyncio.get_running_loop().time() < deadline:
        is_here = is_connected()
        if is_here and await proves(
            parts.hostname or "", parts.port or 0, settings.authority, server_name=agent_name(cluster)
        ):
            return
        await asyncio.sleep(0.2)
    if is_here:
        raise ConnectError(
            "NotReached",
            f"the agent has called, but the centre cannot reach it at {endpoint} within {CALL_BACK_S:.0f} s: "
            "look for a firewall between them",
        )
    raise ConnectError(
        "NoCall",
        f"the agent is installed but has not called {settings.url} within {CALL_BACK_S:.0f} s: "
        "look at the logs of deployment loft-agent there",
    )


def _text(secret: Object, field: str) -> str:
    return base64.b64decode((secret.get("data") or {}).get(field) or "").decode("utf-8", "replace")
