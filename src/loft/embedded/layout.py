"""Where everything of an embedded cluster is: its addresses, its directories, its names on this machine.

Pure: two processes that build a Layout from the same facts agree on everything, so no path or address is
ever passed around. The facts themselves (name, index) are stored by `registry.py`.

Addresses: one IPv4 /16 (default 10.201.0.0/16) is cut into sixteen /20, one for each cluster by its index:

    +0.1          node IP (API server, kubelet, NodePorts, hostPorts)
    +0.254        this machine's end of the veth pair of a named cluster
    +4.0/22       pods
    +8.0/22       Services; .1 is kubernetes.default, .10 is DNS

All of it is routed on this machine only: `network.py` sees to it that no packet of the /16 leaves.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

import msgspec

KUBERNETES_VERSION = "v1.36.3"

MAIN_CLUSTER = "loft-cluster"
"""The cluster of `loft start` without `--name`: index 0, in this machine's own network namespace."""

CLUSTERS_MAX = 16
DEFAULT_NETWORK = "10.201.0.0/16"

API_PORT = 6443
KUBELET_PORT = 10250
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
PROXY_HEALTH_PORT = 10256
PROXY_METRICS_PORT = 10249

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


class BadName(ValueError):
    """The name of a cluster is not one we accept; the message says why."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The whole map of one embedded cluster."""

    name: str
    index: int
    state_dir: Path
    """Root of all embedded clusters' state, /var/lib/loft by default."""
    cache_dir: Path
    """What can be built or downloaded again: binaries and images, /var/cache/loft by default."""
    network: str = DEFAULT_NETWORK
    """The /16 that all clusters of this machine share."""

    def __post_init__(self) -> None:
        """Refuse what cannot be laid out. Raises: BadName, ValueError."""
        if not _NAME.fullmatch(self.name):
            raise BadName(
                f"{self.name!r} is no name for a cluster: use up to 30 of a-z, 0-9 and '-', "
                "a letter first, no '-' at the end"
            )
        if not 0 <= self.index < CLUSTERS_MAX:
            raise ValueError(f"cluster index {self.index}: only {CLUSTERS_MAX} clusters fit on one machine")
        if ipaddress.IPv4Network(self.network).prefixlen != 16:
            raise ValueError(f"network {self.network}: a /16 is needed")

    # Addresses

    def _block(self) -> ipaddress.IPv4Address:
        return ipaddress.IPv4Network(self.network).network_address + self.index * 4096

    @property
    def cluster_cidr(self) -> str:
        """Everything of this cluster: node, pods and Services."""
        return f"{self._block()}/20"

    @property
    def node_ip(self) -> str:
        """The one address at which the API server, kubelet and NodePorts of this cluster answer."""
        return str(self._block() + 1)

    @property
    def uplink_ip(self) -> str:
        """This machine's own address on the veth pair of a named cluster."""
        return str(self._block() + 254)

    @property
    def pod_cidr(self) -> str:
        """Addresses of pods."""
        return f"{self._block() + 1024}/22"

    @property
    def service_cidr(self) -> str:
        """Addresses of Services (virtual: kube-proxy answers for them)."""
        return f"{self._block() + 2048}/22"

    @property
    def kubernetes_service_ip(self) -> str:
        """ClusterIP of kubernetes.default: the first address of the Service range."""
        return str(self._block() + 2049)

    @property
    def dns_ip(self) -> str:
        """ClusterIP of the DNS Service, given to every pod by the kubelet."""
        return str(self._block() + 2058)

    @property
    def api_url(self) -> str:
        """Address of the API server for this machine, for pods, and for the other embedded clusters."""
        return f"https://{self.node_ip}:{API_PORT}"

    # Names on this machine

    @property
    def node_name(self) -> str:
        """Name of the only Node."""
        return self.name

    @property
    def is_main(self) -> bool:
        """Whether the cluster lives in this machine's own network namespace."""
        return self.index == 0

    @property
    def bridge(self) -> str:
        """Device without ports which carries the node IP."""
        return f"loft{self.index}"

    @property
    def netns(self) -> str:
        """Name of the network namespace; empty for the main cluster."""
        return "" if self.is_main else f"loft-{self.name}"

    @property
    def veth(self) -> str:
        """This machine's end of the veth pair to a named cluster."""
        return f"loft{self.index}up"

    @property
    def enter(self) -> tuple[str, ...]:
        """Words to put before a command so that it runs in the cluster's network; empty for the main one.

        nsenter, not `ip netns exec`: the latter hides the cgroup mounts from what it starts.
        """
        return () if self.is_main else ("nsenter", f"--net=/run/netns/{self.netns}", "--")

    @property
    def cgroup(self) -> str:
        """Path, within each cgroup hierarchy, above every process of this cluster."""
        return f"/loft/{self.index}-{self.name}"

    # Directories and files

    @property
    def directory(self) -> Path:
        """Everything durable of this cluster; removed by `uninstall`."""
        return self.state_dir / "clusters" / self.name

    @property
    def pki(self) -> Path:
        """Certificates and keys (0700)."""
        return self.directory / "pki"

    @property
    def config(self) -> Path:
        """Configuration files of the components, written anew at every start."""
        return self.directory / "config"

    @property
    def logs(self) -> Path:
        """Log of the daemon, of each component, and of pods (`pods/`)."""
        return self.directory / "logs"

    @property
    def pod_logs(self) -> Path:
        """The kubelet's `podLogsDir`."""
        return self.logs / "pods"

    @property
    def run(self) -> Path:
        """Lock, status, pid files and sockets of the running daemon."""
        return self.directory / "run"

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of this cluster's administrator (inline certificates, 0600)."""
        return self.directory / "kubeconfig"

    @property
    def storage(self) -> Path:
        """Directory of local-path volumes."""
        return self.directory / "storage"

    @property
    def etcd_socket(self) -> Path:
        """Where etcd answers: no port, so only root of this machine can reach it."""
        return self.run / "etcd.sock"

    @property
    def containerd_address(self) -> Path:
        """Socket of this cluster's own containerd (`ctr --address …`, namespace k8s.io)."""
        return self.run / "containerd.sock"

    @property
    def binaries(self) -> Path:
        """Directory of kubernetes, kube-apiserver, kubelet, …, kubectl, etcd."""
        return self.cache_dir / f"kubernetes-{KUBERNETES_VERSION}"


def state_root() -> Path:
    """Return the root of all state: $LOFT_STATE_DIR or /var/lib/loft."""
    return Path(os.environ.get("LOFT_STATE_DIR") or "/var/lib/loft")


def cache_root() -> Path:
    """Return the root of the cache: $LOFT_CACHE_DIR or /var/cache/loft."""
    return Path(os.environ.get("LOFT_CACHE_DIR") or "/var/cache/loft")
