"""The cluster's DNS: CoreDNS behind the Service `kube-dns`, whose address every kubelet hands to its pods.

Source: the Kubernetes DNS specification; names of the Service and its ports are what others look for.
"""

from __future__ import annotations

from typing import Any

IMAGE = "loft.sh/coredns:v1.15.0"
NAMESPACE = "kube-system"
PORT = 53
"""The pods listen on it too: NetworkPolicies see their ports, and everybody writes 53 into those."""

COREFILE = """\
.:53 {
    errors
    health :8080 {
        lameduck 5s
    }
    ready :8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    prometheus :9153
    cache 30
    reload
    loadbalance
}
"""
"""No forwarder: an embedded cluster asks nothing outside of its machine."""


def manifests(cluster_ip: str) -> list[dict[str, Any]]:
    """Return DNS for a cluster whose pods ask `cluster_ip`."""
    labels = {"k8s-app": "kube-dns"}
    metadata = {"name": "coredns", "namespace": NAMESPACE, "labels": labels}
    ports = [("dns", "UDP", PORT, PORT), ("dns-tcp", "TCP", PORT, PORT), ("metrics", "TCP", 9153, 9153)]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *_roles(),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": COREFILE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": NAMESPACE, "labels": labels},
            "spec": {
                "clusterIP": cluster_ip,
                "selector": labels,
                "ports": [
                    {"name": name, "protocol": protocol, "port": port, "targetPort": target}
                    for name, protocol, port, target in ports
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod()},
            },
        },
    ]


def _roles() -> list[dict[str, Any]]:
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": NAMESPACE}],
        },
    ]


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": str(PORT)}],
        },
        "containers": [
            {
                "name": "coredns",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "ports": [
                    {"name": "dns", "containerPort": PORT, "protocol": "UDP"},
                    {"name": "dns-tcp", "containerPort": PORT, "protocol": "TCP"},
                ],
                "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
                "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 30},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
