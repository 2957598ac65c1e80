"""Cluster: a connected Kubernetes cluster (storage.loft.sh/v1, cluster-scoped, at the centre)."""

from __future__ import annotations

from loft.api.meta import Access, Kind, ObjectMeta, SecretRef, UserOrTeam

DIRECT_ENDPOINT = "loft.sh/direct-cluster-endpoint"
"""Annotation: host (and port) under which people reach the cluster's agent; `https://` is assumed."""
DIRECT_ENDPOINT_INSECURE = "loft.sh/direct-cluster-endpoint-insecure"
"""Annotation: "true" makes contexts with insecure-skip-tls-verify for that endpoint."""
DIRECT_ENDPOINT_CA = "loft.sh/direct-cluster-endpoint-ca-data"
"""Annotation: base64 of the PEM CA that signed the endpoint's certificate."""


class ClusterSpec(Kind, frozen=True, kw_only=True):
    """How the centre knows the cluster."""

    display_name: str = ""
    description: str = ""
    owner: UserOrTeam | None = None
    config: SecretRef | None = None
    """Kubeconfig used once, to install the agent; inline data only (no files, no exec)."""
    local: bool = False
    """The cluster in which the centre itself runs."""
    management_namespace: str = ""
    """Namespace of the agent in that cluster; `loft` when empty."""
    access: list[Access] = []


class ClusterStatus(Kind, frozen=True, kw_only=True):
    """Where connecting has got to; `phase` is "" (pending), Initialized or Failed."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    online: bool = False
    """The agent's outbound connection is up."""
    last_seen: str | None = None
    agent_endpoint: str = ""
    """host:port of the agent's listener for the centre (mTLS)."""
    agent_version: str = ""


class Cluster(Kind, frozen=True, kw_only=True):
    """A connected cluster."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ClusterSpec = ClusterSpec()
    status: ClusterStatus = ClusterStatus()
