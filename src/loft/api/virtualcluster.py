"""VirtualCluster: a Kubernetes API of its own inside one namespace (storage.loft.sh/v1, connected clusters)."""

from __future__ import annotations

from typing import Any

from loft.api.meta import Condition, Kind, ObjectMeta, SecretRef


class VirtualClusterAccessRule(Kind, frozen=True, kw_only=True):
    """Users and teams that get one ClusterRole inside; `*` stands for everybody who may reach it."""

    users: list[str] = []
    teams: list[str] = []
    cluster_role: str = ""


class VirtualClusterAccess(Kind, frozen=True, kw_only=True):
    """What those who may reach the virtual cluster may do inside."""

    disable_service_accounts_auth: bool = False
    """Refuse tokens of the virtual cluster's own ServiceAccounts at the gateway."""
    default_cluster_role: str = ""
    """ClusterRole for everybody with access; cluster-admin when empty."""
    rules: list[VirtualClusterAccessRule] = []


class VirtualClusterHelmChart(Kind, frozen=True, kw_only=True):
    """Which chart deploys it; empty fields mean the built-in chart."""

    name: str = ""
    repo: str = ""
    version: str = ""


class VirtualClusterHelmRelease(Kind, frozen=True, kw_only=True):
    """The Helm release of the control plane."""

    name: str = ""
    """Name of the release; the virtual cluster's own when empty. It cannot change."""
    chart: VirtualClusterHelmChart = VirtualClusterHelmChart()
    values: str = ""
    """Chart values as YAML text."""


class PodSelector(Kind, frozen=True, kw_only=True):
    """The control plane's pods and port, when the chart is not ours."""

    pod_selector: dict[str, Any] = {}
    port: int | None = None


class VirtualClusterSpec(Kind, frozen=True, kw_only=True):
    """The wished-for virtual cluster."""

    access: VirtualClusterAccess | None = None
    helm_release: VirtualClusterHelmRelease | None = None
    pod: PodSelector | None = None
    kube_config_ref: SecretRef | None = None
    objects: str = ""
    """Manifests (YAML) applied inside once the API answers."""


class VirtualClusterHelmReleaseStatus(Kind, frozen=True, kw_only=True):
    """What Helm deployed last."""

    phase: str = ""
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""
    release: VirtualClusterHelmRelease | None = None


class VirtualClusterStatus(Kind, frozen=True, kw_only=True):
    """Observed state; `phase` is "", Pending, Deployed or Failed."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    control_plane_ready: bool = False
    conditions: list[Condition] = []
    observed_generation: int = 0
    helm_release: VirtualClusterHelmReleaseStatus | None = None


class VirtualCluster(Kind, frozen=True, kw_only=True):
    """A virtual cluster."""

    metadata: ObjectMeta = ObjectMeta()
    spec: VirtualClusterSpec = VirtualClusterSpec()
    status: VirtualClusterStatus = VirtualClusterStatus()
