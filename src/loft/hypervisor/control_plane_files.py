"""Configuration files that the components of a virtual control plane read beside their flags. Pure.

Flags are in the chart; what is a file, and needs no value of the chart, is here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from loft.hypervisor.certificates import HYPERVISOR_USER, Place

PKI = "/run/loft/pki"
"""Where a component's own folder is mounted in its container."""
EGRESS_SOCKET = "/run/loft/egress/egress.sock"
API_SERVER = "https://127.0.0.1:8443"
STORE_FOLDER = "/data"
"""Where the store's volume is mounted, in etcd's container and in the hypervisor's."""
STORE_SOCKET = "/run/loft/etcd/etcd.sock"
STORE_HEALTH_PORT = 2381
PEER_PORT = 2380
STORE_FILE = "etcd/etcd.json"


def configuration_files(
    egress_socket: str = EGRESS_SOCKET, server: str = API_SERVER, pki: str = ""
) -> dict[str, bytes]:
    """Return relative path -> content.

    `pki` is the folder above the components' folders where they are not containers of their own (tests); by default
    each sees its folder at PKI.
    """
    files = {
        "kube-apiserver/egress.json": _json(_egress(egress_socket)),
        "kube-apiserver/authentication.json": _json(_authentication()),
        "kube-apiserver/authorization.jsonl": _authorization_policy(),
    }
    for component in ("kube-controller-manager", "kube-scheduler"):
        folder = f"{pki}/{component}" if pki else PKI
        files[f"{component}/kubeconfig"] = _json(_kubeconfig(folder, server))
        if component == "kube-scheduler":
            files[f"{component}/config.json"] = _json(_scheduler(f"{folder}/kubeconfig"))
    return files


def store_configuration(place: Place, initial_cluster: str, *, limit_bytes: int, is_new: bool) -> dict[str, bytes]:
    """Return etcd's own file: who its peers are is known only when it may start, so flags cannot say it.

    Args:
        place: this pod's.
        initial_cluster: `NAME=PEER-URL,…`; etcd with data does not look at it.
        limit_bytes: how large its database may become.
        is_new: whether the cluster begins with this one, not this one joins it.
    """
    several = "," in initial_cluster
    address = f"[{place.pod_ip}]" if ":" in place.pod_ip else place.pod_ip
    files = {"cert-file": "peer.crt", "key-file": "peer.key", "trusted-ca-file": "ca.crt"}
    return {
        STORE_FILE: _json(
            {
                "name": place.pod_name,
                "data-dir": f"{STORE_FOLDER}/etcd",
                # Clients come over a socket that only the API server's container and the hypervisor's see; the
                # advertised address is not listened on.
                "listen-client-urls": f"unix://{STORE_SOCKET}",
                "advertise-client-urls": "http://127.0.0.1:2379",
                "listen-peer-urls": f"https://{address if several else '127.0.0.1'}:{PEER_PORT}",
                "initial-advertise-peer-urls": peer_url(place.name, place.namespace, place.pod_name),
                "initial-cluster": initial_cluster,
                "initial-cluster-state": "new" if is_new else "existing",
                "initial-cluster-token": f"{place.namespace}.{place.name}",
                "peer-transport-security": {key: f"{PKI}/{name}" for key, name in files.items()}
                | {"client-cert-auth": True},
                "auto-compaction-mode": "periodic",
                "auto-compaction-retention": "30m",
                "quota-backend-bytes": limit_bytes,
                # For the hypervisor: whether the store is full. Of the pod's own loopback, which the egress rules do
                # not reach.
                "listen-metrics-urls": f"http://127.0.0.1:{STORE_HEALTH_PORT}",
                "snapshot-count": 10000,
                "log-level": "warn",
            }
        )
    }


def peer_url(name: str, namespace: str, pod: str) -> str:
    """Return where the etcd of one replica is reached by the others."""
    return f"https://{pod}.{name}-headless.{namespace}.svc:{PEER_PORT}"


def _egress(socket: str) -> dict[str, Any]:
    """Send all that the API server dials, but etcd, through the hypervisor."""
    connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": socket}}}
    selections = [{"name": name, "connection": connection} for name in ("cluster", "controlplane")]
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": selections,
    }


def _authentication() -> dict[str, Any]:
    """Anonymous requests may ask whether the server lives, as a kubelet's probes do, and nothing else."""
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": [{"path": path} for path in ("/livez", "/readyz")]},
    }


def _authorization_policy() -> bytes:
    """Give the hypervisor its rights from outside, so that it needs no `system:masters`.

    RBAC objects could not: nobody may write the first of them, and the tenant could take them away.
    """
    anything = {"namespace": "*", "resource": "*", "apiGroup": "*"}
    specs = [{"user": HYPERVISOR_USER, **anything}, {"user": HYPERVISOR_USER, "nonResourcePath": "*"}]
    policies = [
        {"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": spec} for spec in specs
    ]
    return b"".join(_json(policy) + b"\n" for policy in policies)


def _scheduler(kubeconfig: str) -> dict[str, Any]:
    """Place by everything but volumes: those are bound on the host, where its scheduler looks after them."""
    off = [{"name": name} for name in ("VolumeBinding", "VolumeZone", "NodeVolumeLimits", "VolumeRestrictions")]
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        # Every replica's scheduler may run; one of them works.
        "leaderElection": {"leaderElect": True, "resourceNamespace": "kube-system", "resourceName": "kube-scheduler"},
        "profiles": [{"schedulerName": "default-scheduler", "plugins": {"multiPoint": {"disabled": off}}}],
    }


def _kubeconfig(folder: str, server: str) -> dict[str, Any]:
    """Name certificate files rather than hold them: clients read those again when they are renewed."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default", "cluster": {"server": server, "certificate-authority": f"{folder}/ca.crt"}}],
        "users": [
            {
                "name": "default",
                "user": {"client-certificate": f"{folder}/client.crt", "client-key": f"{folder}/client.key"},
            }
        ],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "current-context": "default",
    }


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
