"""Where a connected cluster is: its agent's address, the names in its certificates, what is still to do. Pure."""

from __future__ import annotations

import base64
import ipaddress
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from loft.api.cluster import DIRECT_ENDPOINT, DIRECT_ENDPOINT_CA, DIRECT_ENDPOINT_INSECURE, Cluster
from loft.core.action import Patch
from loft.core.resource import CLUSTERS

Object = dict[str, Any]

CENTRAL_PORT = "central"
AGENT_SERVICE = "loft-agent"
AGENT_SECRET = "loft-agent-centre"
DEFAULT_NAMESPACE = "loft"
OFFLINE_AFTER = timedelta(seconds=90)
SEEN_EVERY = timedelta(seconds=30)
Step = Literal["", "local", "connect"]


class Refused(ValueError):
    """A kubeconfig leads to a place where no cluster of somebody else's can be."""


def agent_name(cluster: str) -> str:
    """Return the name in the certificate of an agent's listener for the centre."""
    return f"agent.{cluster}.loft.internal"


def agent_namespace(cluster: Cluster) -> str:
    """Return the namespace of the agent in its cluster."""
    return cluster.spec.management_namespace or DEFAULT_NAMESPACE


def next_step(cluster: Cluster, *, has_token: bool) -> Step:
    """Return what has to be done for a Cluster object."""
    if cluster.metadata.deletion_timestamp:
        return ""
    if cluster.spec.local:
        return "local"
    if cluster.spec.config is not None and not (cluster.status.phase == "Initialized" and has_token):
        return "connect"
    return ""


def check_server(server: str, addresses: list[str]) -> None:
    """Refuse a server that is this machine itself or a cloud's metadata: nobody's cluster is there.

    `addresses` is what its host name resolves to from here. Raises: Refused.
    """
    parts = urlsplit(server)
    if parts.scheme != "https":
        raise Refused(f"server {server} is not https; a cluster's API server must prove who it is")
    for text in addresses:
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if address.is_loopback or address.is_unspecified:
            raise Refused(
                f"server {server} is {address}, which is this machine as seen from the central instance; "
                "use an address under which the cluster is reached from there"
            )
        if address.is_link_local or address.is_multicast or str(address) in ("100.100.100.200", "fd00:ec2::254"):
            raise Refused(f"server {server} is {address}, where no cluster can be")


def service_endpoint(service: Object, host: str) -> str:
    """Return host:port of the agent's listener for the centre, "" while it has none.

    `host` is where the cluster's nodes are reached, for a NodePort.
    """
    spec = service.get("spec") or {}
    port = next((entry for entry in spec.get("ports") or [] if entry.get("name") == CENTRAL_PORT), None)
    if port is None:
        return ""
    if spec.get("type") == "LoadBalancer":
        for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
            if address := ingress.get("ip") or ingress.get("hostname"):
                return _joined(address, port["port"])
        return ""
    if spec.get("type") == "NodePort" and port.get("nodePort"):
        return _joined(host, port["nodePort"])
    return ""


def local_endpoint(service: Object) -> str:
    """Return host:port of the agent in the centre's own cluster, "" while it has none."""
    address = (service.get("spec") or {}).get("clusterIP") or ""
    ports = (service.get("spec") or {}).get("ports") or []
    port = next((entry["port"] for entry in ports if entry.get("name") == CENTRAL_PORT), 0)
    return _joined(address, port) if address not in ("", "None") and port else ""


def direct_hosts(cluster: Cluster) -> tuple[str, ...]:
    """Return the names under which people reach the agent, for its certificate."""
    found = []
    if host := host_of(cluster.metadata.annotations.get(DIRECT_ENDPOINT, "")):
        found.append(host)
    if cluster.status.agent_endpoint and (host := host_of(cluster.status.agent_endpoint)) and host not in found:
        found.append(host)
    return tuple(found)


def host_of(endpoint: str) -> str:
    """Return the host of `host`, `host:port` or a URL; "" for what is none."""
    try:
        return urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}").hostname or ""
    except ValueError:
        return ""


def direct_authority(cluster: Cluster, ca: bytes) -> Patch | None:
    """Return the note that a direct endpoint proves itself by our authority, None where it is not wanted.

    It is not where an administrator has said something else about the endpoint.
    """
    annotations = cluster.metadata.annotations
    if not annotations.get(DIRECT_ENDPOINT) or annotations.get(DIRECT_ENDPOINT_INSECURE) == "true":
        return None
    if annotations.get(DIRECT_ENDPOINT_CA):
        return None
    patch = {"metadata": {"annotations": {DIRECT_ENDPOINT_CA: base64.b64encode(ca).decode()}}}
    return Patch(CLUSTERS, "", cluster.metadata.name, patch, uid=cluster.metadata.uid)


def is_stale(cluster: Cluster, now: datetime) -> bool:
    """Tell whether a cluster counts as online though its agent has not been heard for too long."""
    if not cluster.status.online:
        return False
    try:
        seen = datetime.fromisoformat(cluster.status.last_seen or "")
    except ValueError:
        return True
    return now - seen > OFFLINE_AFTER


def status_patch(cluster: Cluster, **fields: object) -> Patch | None:
    """Return the write that sets fields of the status, None when they are as given."""
    changed = {name: value for name, value in fields.items() if getattr(cluster.status, name) != value}
    if not changed:
        return None
    names = {field.name: field.encode_name for field in msgspec.structs.fields(type(cluster.status))}
    body = {"status": {names[name]: value for name, value in changed.items()}}
    return Patch(CLUSTERS, "", cluster.metadata.name, body, subresource="status", uid=cluster.metadata.uid)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
