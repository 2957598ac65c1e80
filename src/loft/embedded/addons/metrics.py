"""metrics.k8s.io: what `kubectl top` and the HorizontalPodAutoscaler ask, served by metrics-server."""

from __future__ import annotations

from typing import Any

IMAGE = "loft.sh/metrics-server:v0.9.0"
NAME = "metrics-server"
NAMESPACE = "kube-system"
PORT = 10250
RBAC = "rbac.authorization.k8s.io"


def manifests() -> list[dict[str, Any]]:
    """Return metrics-server with its APIService; kubelet certificates are verified by the cluster's authority."""
    labels = {"k8s-app": NAME}
    metadata = {"name": NAME, "namespace": NAMESPACE, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *_roles(),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "https", "port": 443, "targetPort": PORT}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": _pod()}},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                # metrics-server makes its own serving certificate at each start, which nobody can pin.
                "insecureSkipTLSVerify": True,
                "service": {"name": NAME, "namespace": NAMESPACE, "port": 443},
            },
        },
    ]


def _binding(name: str, role: str, *, namespace: str = "") -> dict[str, Any]:
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "roleRef": {"apiGroup": RBAC, "kind": "Role" if namespace else "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    }


def _roles() -> list[dict[str, Any]]:
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes", "namespaces"], "verbs": ["get", "list", "watch"]},
    ]
    reader = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": "system:aggregated-metrics-reader",
            "labels": {f"{RBAC.removesuffix('.k8s.io')}.k8s.io/aggregate-to-view": "true"},
        },
        "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
    }
    return [
        reader,
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:metrics-server"},
            "rules": rules,
        },
        _binding("system:metrics-server", "system:metrics-server"),
        _binding("metrics-server:system:auth-delegator", "system:auth-delegator"),
        _binding("metrics-server-auth-reader", "extension-apiserver-authentication-reader", namespace=NAMESPACE),
    ]


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": NAME,
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "args": [
                    "--cert-dir=/tmp",
                    f"--secure-port={PORT}",
                    "--kubelet-preferred-address-types=InternalIP",
                    "--kubelet-certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
                    "--metric-resolution=15s",
                ],
                "ports": [{"name": "https", "containerPort": PORT}],
                "resources": {"requests": {"cpu": "20m", "memory": "40Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {
                    "httpGet": {"path": "/readyz", "port": "https", "scheme": "HTTPS"},
                    "periodSeconds": 5,
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
