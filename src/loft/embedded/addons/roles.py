"""The administrator's kubeconfig is a member of a group that RBAC binds, not of system:masters."""

from __future__ import annotations

from typing import Any

from loft.embedded.certificates import ADMIN_GROUP


def manifests() -> list[dict[str, Any]]:
    """Return the binding of the administrators' group, and what the API server may do at kubelets."""
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ADMIN_GROUP},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": ADMIN_GROUP}],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "loft:kubelet-client"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "kube-apiserver-kubelet-client"}],
        },
    ]
