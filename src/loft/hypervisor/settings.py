"""What one hypervisor is told about its virtual cluster and about the host; everything else it observes."""

from __future__ import annotations

from typing import Any

import msgspec

from loft.hypervisor.custom import CustomResource
from loft.hypervisor.mapped import MappedService

DNS_SERVICE = "kube-system/kube-dns"
OPTIONAL_KINDS = frozenset({"StorageClassToHost"})
"""Kinds that are synced only when they are asked for."""
KINDS = frozenset(
    {
        "ConfigMap",
        "EndpointSlice",
        "Event",
        "Ingress",
        "IngressClass",
        "NetworkPolicy",
        "Node",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "PriorityClass",
        "Secret",
        "Service",
        "StorageClass",
        "VolumeSnapshot",
        "VolumeSnapshotClass",
    },
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about one virtual cluster."""

    name: str
    """Name of the virtual cluster (the Helm release), unique in its host namespace."""
    host_namespace: str
    """The one namespace of the host cluster in which all its host objects are."""
    service_cidr: str = ""
    """The Service CIDR that host and virtual cluster share, for checks only."""
    api_service_ip: str = ""
    """ClusterIP of the host Service in front of the virtual API server: `KUBERNETES_SERVICE_HOST` in every pod."""
    api_service_port: int = 443
    dns_ip: str = ""
    """Name server of pods; when empty, the ClusterIP of the virtual Service `dns_service` is used."""
    dns_service: str = DNS_SERVICE
    cluster_domain: str = "cluster.local"
    workload_service_account: str = ""
    """Host ServiceAccount without rights under which all host pods run; `vc-NAME-workload` when empty."""
    owner: dict[str, Any] | None = None
    """An ownerReference (apiVersion, kind, name, uid) set on every host object, so that nothing outlives its owner."""
    cluster_owner: dict[str, Any] | None = None
    """The same for cluster-scoped host objects, which cannot be owned by a namespaced one."""
    kinds: frozenset[str] = KINDS
    """Kinds that are synced; a kind that is switched off is neither watched nor written."""
    host_nodes: bool = False
    """Whether host Nodes may be read; without it virtual Nodes show conservative figures."""
    scheduler: bool = False
    """Whether a scheduler inside places pods; the host's own keeps the last word."""
    all_nodes: bool = False
    """Whether every host node is shown, not only those that run a Pod of the tenant; needs `host_nodes`."""
    node_selector: str = ""
    """Label selector of the host nodes that are shown when all are."""
    node_idle_s: float = 60.0
    """A virtual Node without pods is deleted after so many seconds, unless all are shown."""
    node_address: str = ""
    """Where the kubelet API of all virtual Nodes is reached; by default at the host nodes' own addresses."""
    kubelet_port: int = 10250
    kubernetes_version: str = "v1.36.3"
    """Shown as kubelet version of virtual Nodes when the host's cannot be read."""
    reservation_s: float = 120.0
    """A reserved host Service that no virtual Service has claimed for so long is released."""
    storage_classes: tuple[str, ...] = ("*",)
    """Host StorageClasses that tenants may name; `*` allows every one."""
    pod_security: str = "baseline"
    """The Pod Security level that tenants' pods must meet: baseline, restricted or privileged (no rule at all)."""
    priority_classes: tuple[str, ...] = ()
    """Names of host PriorityClasses that tenants may use; never Kubernetes' own."""
    snapshot_classes: tuple[str, ...] = ("*",)
    """Host VolumeSnapshotClasses that tenants may name; `*` allows every one."""
    ingress_classes: tuple[str, ...] = ("*",)
    """Host IngressClasses that tenants may name; `*` allows every one."""
    ingress_hosts: tuple[str, ...] = ()
    """Hosts that tenants' Ingresses may claim: `shop.example.com`, `*.dev.example.com` (all below), `*` (any one)."""
    tolerations: tuple[str, ...] = ("node.kubernetes.io/",)
    """Taint keys (or prefixes ending in `/`) that tenants may tolerate; other tolerations stay inside."""

    hosts_image: str = ""
    """Image whose shell writes /etc/hosts of Pods with a subdomain; empty leaves that file to the kubelet."""
    custom_resources: tuple[CustomResource, ...] = ()
    """Kinds that are no part of Kubernetes and are synced as written here."""
    token_key: str = ""
    """Names the key that signs tokens of service accounts now; others' tokens are renewed. "" counts for any."""
    from_host: tuple[MappedService, ...] = ()
    """Services of the host that are shown inside."""
    from_virtual: tuple[MappedService, ...] = ()
    """Services inside that are found on the host under a plain name."""
    control_plane: dict[str, str] = {}
    """Labels of the virtual cluster's control plane on the host, which is within the boundary and for its tenants."""
    blocked_cidrs: tuple[str, ...] = ()
    """Ranges that no tenant's NetworkPolicy opens, beside the virtual cluster's own pods; empty means no boundary."""

    @property
    def service_account(self) -> str:
        """The host ServiceAccount of all host pods."""
        return self.workload_service_account or f"vc-{self.name}-workload"
