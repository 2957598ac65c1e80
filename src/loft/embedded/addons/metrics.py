"""metrics.k8s.io: what `kubectl top` and the HorizontalPodAutoscaler ask, served by metrics-server.

Verified on both sides: it knows the kubelets by the cluster's authority, and the API server knows it by a
certificate of that authority, which lies in a Secret and is renewed there (metrics-server reads it anew).
"""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any

from loft.core.resource import SECRETS
from loft.embedded.layout import Layout
from loft.kube.client import Client
from loft.kube.errors import NotFound
from loft.pki import authority
from loft.pki.authority import KeyPair

IMAGE = "loft.sh/metrics-server:v0.9.0"
NAME = "metrics-server"
NAMESPACE = "kube-system"
PORT = 10250
SERVING = "metrics-server-serving"
"""The Secret with its certificate."""
SERVING_NAME = f"{NAME}.{NAMESPACE}.svc"
RENEWAL_CHECK_S = 3600.0
RBAC = "rbac.authorization.k8s.io"


def manifests(ca: bytes) -> list[dict[str, Any]]:
    """Return metrics-server with its APIService, which trusts `ca` (PEM); its Secret is made by `ensure_serving`."""
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
                "caBundle": base64.b64encode(ca).decode(),
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
            "labels": {f"{RBAC}/aggregate-to-view": "true"},
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
                    "--tls-cert-file=/serving/tls.crt",
                    "--tls-private-key-file=/serving/tls.key",
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
                "volumeMounts": [{"name": "serving", "mountPath": "/serving", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "serving", "secret": {"secretName": SERVING}}],
    }


def serving_secret(pair: KeyPair) -> dict[str, Any]:
    """Return the Secret that holds a serving certificate."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": SERVING, "namespace": NAMESPACE},
        "data": {
            "tls.crt": base64.b64encode(pair.cert).decode(),
            "tls.key": base64.b64encode(pair.key).decode(),
        },
    }


def is_good(secret: dict[str, Any] | None, ca: bytes, now: datetime) -> bool:
    """Tell whether the Secret holds a certificate of `ca` that is not due for renewal."""
    data = (secret or {}).get("data") or {}
    try:
        cert = base64.b64decode(data["tls.crt"])
        return bool(data["tls.key"]) and authority.issued_by(cert, ca) and not authority.due(cert, now)
    except (KeyError, ValueError):
        return False


async def ensure_serving(client: Client, layout: Layout, manager: str) -> None:
    """Make the serving certificate when it is missing, foreign or due. Raises: ApiError."""
    ca = KeyPair(cert=(layout.pki / "ca.crt").read_bytes(), key=(layout.pki / "ca.key").read_bytes())
    now = datetime.now(UTC)
    try:
        secret = await client.get(SECRETS, SERVING, NAMESPACE)
    except NotFound:
        secret = None
    if is_good(secret, ca.cert, now):
        return
    pair = authority.issue(ca, common_name=SERVING_NAME, dns=(SERVING_NAME,), usage="server", now=now)
    await client.apply(SECRETS, serving_secret(pair), manager=manager)


async def keep_serving(client: Client, layout: Layout, manager: str) -> None:
    """Renew the certificate in time, until cancelled."""
    while True:
        await ensure_serving(client, layout, manager)
        await asyncio.sleep(RENEWAL_CHECK_S)
