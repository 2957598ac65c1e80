"""Names of Envoy's upstream clusters: the decision names one, the snapshot makes them. Pure."""

from __future__ import annotations

MANAGEMENT = "management"
PLATFORM = "platform"
API_SERVER = "apiserver"


def upgrade(upstream: str) -> str:
    """The twin for upgraded connections: HTTP/1.1 only, a connection of its own for each request."""
    return upstream + ":upgrade"


def bearer(upstream: str) -> str:
    """The twin without a client certificate, for requests that bring their own token."""
    return upstream + ":bearer"


def agent(cluster: str) -> str:
    """The agent of a connected cluster."""
    return f"cluster:{cluster}"


def virtual_cluster(namespace: str, name: str) -> str:
    """The API server of a virtual cluster."""
    return f"vc:{namespace}/{name}"
