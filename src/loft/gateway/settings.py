"""What the gateway is told by the process around it. Pure data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from loft.pki.authority import KeyPair

Role = Literal["centre", "agent"]

CENTRE_URI = "spiffe://loft/centre"
"""URI SAN of the certificate with which the centre speaks to agents."""


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed for the life of a gateway."""

    role: Role
    directory: Path
    """For sockets and Envoy's start configuration; made with mode 0700. Unix sockets allow about 90 characters."""
    cluster: str = ""
    """Agent: the name of its cluster, for the audience of endpoint tokens and for scopes."""
    address: str = "0.0.0.0"
    tls_port: int = 10443
    plain_port: int = 8080
    """Behind an ingress; 0 means no such listener."""
    centre_port: int = 10444
    """Agent: for the centre only (mTLS)."""
    trusted_proxy_hops: int = 0
    """Proxies in front of the plain listener whose X-Forwarded-For is believed (for logs only)."""
    audit_log: Path | None = None
    """One JSON line per authenticated request; None means Envoy's standard output."""
    envoy_log: Path | None = None
    worker_threads: int = 2


class ClusterRoute(msgspec.Struct, frozen=True, kw_only=True):
    """Centre: how a connected cluster's agent is reached."""

    name: str
    endpoint: str
    """host:port of the agent's listener for the centre; "" while no agent has connected."""
    ca: bytes = b""
    """PEM; verifies the agent's certificate."""
    client: KeyPair | None = None
    """With URI SAN CENTRE_URI."""
    server_name: str = ""
    """Name or IP address in the agent's certificate; the endpoint's host when empty."""


class VirtualClusterRoute(msgspec.Struct, frozen=True, kw_only=True):
    """Agent: how the API server of a virtual cluster is reached."""

    namespace: str
    name: str
    address: str
    """host:port of its Service."""
    ca: bytes
    client: KeyPair
    """Bound inside to `impersonate` only."""
    allow_service_accounts: bool = True
    """Hand on tokens of the virtual cluster's own ServiceAccounts."""
    server_name: str = ""
    """Name or IP address in the API server's certificate; the address's host when empty."""


class ApiServerRoute(msgspec.Struct, frozen=True, kw_only=True):
    """Agent: the API server of its own cluster. Centre: the management API (with `client`)."""

    address: str
    ca: bytes
    client: KeyPair | None = None
    """Front-proxy certificate for the management API; the host's API server gets the impersonator's token."""
    server_name: str = ""


class CentreListener(msgspec.Struct, frozen=True, kw_only=True):
    """Agent: certificates of the listener for the centre."""

    serving: KeyPair
    client_ca: bytes
    """PEM; the authority of the centre's client certificate."""


def host_port(address: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`. Raises: ValueError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)
