"""The virtual cluster's own DNS: CoreDNS as objects inside, synced to the host like a tenant's. Pure.

Names of the Service and its ports are those that others look for (Kubernetes DNS specification). What CoreDNS does
not know it asks the resolver of the node its pod runs on (`dnsPolicy: Default`).
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

NAMESPACE = "kube-system"
RBAC = "rbac.authorization.k8s.io"
LABELS = {"k8s-app": "kube-dns"}
PORT = 53
"""The pods listen on it too: NetworkPolicies see their ports, and everybody writes 53 into those."""
ZONES = "in-addr.arpa ip6.arpa"


def dns_objects(image: str, *, replicas: int, domain: str) -> list[Object]:
    """Return the objects in the order in which they are applied."""
    metadata = {"name": "coredns", "namespace": NAMESPACE, "labels": LABELS}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata | {"name": "kube-dns"}, "spec": _service()},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *_roles(),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": _corefile(domain)}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": LABELS},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
                "template": {"metadata": {"labels": LABELS}, "spec": _pod(image)},
            },
        },
    ]


def _corefile(domain: str) -> str:
    return f"""\
.:{PORT} {{
    errors
    health :8080
    ready :8181
    kubernetes {domain} {ZONES} {{
        pods insecure
        fallthrough {ZONES}
        ttl 30
    }}
    prometheus :9153
    forward . /etc/resolv.conf {{
        max_concurrent 1000
    }}
    cache 30
    loop
    reload
    loadbalance
}}
"""


def _service() -> Object:
    ports = [("dns", "UDP", PORT, PORT), ("dns-tcp", "TCP", PORT, PORT), ("metrics", "TCP", 9153, 9153)]
    return {
        "selector": LABELS,
        "ports": [
            {"name": name, "protocol": protocol, "port": port, "targetPort": target}
            for name, protocol, port, target in ports
        ],
    }


def _roles() -> list[Object]:
    metadata = {"name": "system:coredns", "labels": LABELS}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": NAMESPACE}],
        },
    ]


def _pod(image: str) -> Object:
    return {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": str(PORT)}],
        },
        "containers": [
            {
                "name": "coredns",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "ports": [
                    {"name": "dns", "containerPort": PORT, "protocol": "UDP"},
                    {"name": "dns-tcp", "containerPort": PORT, "protocol": "TCP"},
                    {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
                ],
                "resources": {"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"memory": "170Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
