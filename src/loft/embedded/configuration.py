"""Configuration files of the components, as pure functions of the layout; written anew at every start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loft.embedded.layout import KUBELET_PORT, PROXY_HEALTH_PORT, PROXY_METRICS_PORT, Layout

PAUSE_IMAGE = "loft.sh/pause:1"
CNI_PLUGINS = Path("/usr/lib/cni")
LOG_BYTES_MAX = "16Mi"
EVICTION_DISK = "1Gi"


def files(layout: Layout, encryption_key: str, *, may_lower_oom_score: bool = True) -> dict[Path, str]:
    """Return the content of every configuration file by its path.

    Args:
        layout: the cluster.
        encryption_key: base64 of 32 random bytes that encrypts Secrets in etcd.
        may_lower_oom_score: whether we have CAP_SYS_RESOURCE, as root on an ordinary machine has.
    """
    return {
        layout.config / "containerd.toml": containerd(layout, may_lower_oom_score=may_lower_oom_score),
        layout.config / "cni" / "10-loft.conflist": _json(cni(layout)),
        layout.config / "kubelet.json": _json(kubelet(layout)),
        layout.config / "kube-proxy.json": _json(kube_proxy(layout)),
        layout.config / "authentication.json": _json(authentication()),
        layout.config / "encryption.json": _json(encryption(encryption_key)),
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def containerd(layout: Layout, *, may_lower_oom_score: bool = True) -> str:
    """Return containerd's configuration (its 1.6 format, version 2).

    `restrict_oom_score_adj` keeps it from lowering OOM scores: without the right to, no sandbox would start.
    """
    restrict = str(not may_lower_oom_score).lower()
    return f"""\
version = 2
root = "{layout.directory}/containerd"
state = "{layout.run}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{layout.containerd_address}"
[ttrpc]
  address = "{layout.containerd_address}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = {restrict}
  enable_selinux = false
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{layout.config}/cni"
"""


def cni(layout: Layout) -> dict[str, Any]:
    """Return the network of pods: each has a veth pair routed by the host (`ptp`).

    Routed, not bridged: every packet between pods passes the forward hook, where NetworkPolicies are enforced.
    No masquerading: pod addresses mean nothing outside of this machine, and stay inside.
    """
    return {
        "cniVersion": "0.4.0",
        "name": layout.name,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.run / "ipam"),
                    "ranges": [[{"subnet": layout.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def kubelet(layout: Layout) -> dict[str, Any]:
    """Return KubeletConfiguration. Kubernetes 1.35 and later refuse cgroup v1 unless told otherwise."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.node_ip,
        "port": KUBELET_PORT,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet.key"),
        "tlsMinVersion": "VersionTLS12",
        "clusterDomain": "cluster.local",
        "clusterDNS": [layout.dns_ip],
        "resolvConf": str(layout.config / "resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": layout.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        # Below what preflight.py asks for: a cluster that was let start can run Pods.
        "evictionHard": {
            "nodefs.available": EVICTION_DISK,
            "imagefs.available": EVICTION_DISK,
            "memory.available": "100Mi",
        },
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "8760h",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_address}",
        "podLogsDir": str(layout.pod_logs),
        "containerLogMaxSize": LOG_BYTES_MAX,
        "rotateCertificates": False,
        "maxPods": 250,
        "shutdownGracePeriod": "0s",
        "syncFrequency": "10s",
        # kube-proxy and the guard have tables of their own; the kubelet's iptables chains serve nobody.
        "makeIPTablesUtilChains": False,
        "volumePluginDir": str(layout.directory / "kubelet" / "volume-plugins"),
    }


def kube_proxy(layout: Layout) -> dict[str, Any]:
    """Return KubeProxyConfiguration: nftables, NodePorts on the node IP only."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": layout.node_ip,
        "healthzBindAddress": f"{layout.node_ip}:{PROXY_HEALTH_PORT}",
        # Unlike the others this port asks nobody who they are, so it is not for Pods.
        "metricsBindAddress": f"127.0.0.1:{PROXY_METRICS_PORT}",
        "hostnameOverride": layout.node_name,
        "clientConnection": {"kubeconfig": str(layout.pki / "kube-proxy.kubeconfig")},
        "mode": "nftables",
        "clusterCIDR": layout.pod_cidr,
        "nodePortAddresses": [f"{layout.node_ip}/32"],
        "conntrack": {"maxPerCore": 0},
    }


def authentication() -> dict[str, Any]:
    """Return AuthenticationConfiguration: nobody is anonymous but for health checks."""
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": [{"path": path} for path in ("/livez", "/readyz", "/healthz")]},
    }


def encryption(key: str) -> dict[str, Any]:
    """Return EncryptionConfiguration: Secrets lie encrypted in etcd, old plain ones can still be read."""
    providers = [{"secretbox": {"keys": [{"name": "key1", "secret": key}]}}, {"identity": {}}]
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    }
