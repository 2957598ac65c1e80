"""The owner of a space administers it: one RoleBinding in the namespace, kept as the annotation says. Pure."""

from __future__ import annotations

from typing import Any

from loft.api.space import OWNER_TEAM, OWNER_USER
from loft.cluster.spaceview import is_space
from loft.core.action import Action, Apply, Delete
from loft.core.diff import covers
from loft.core.resource import ROLEBINDINGS

Object = dict[str, Any]

OWNER_ROLE = "loft-cluster-space-admin"
OWNER_BINDING = "loft-space-owner"
MANAGER = "loft-agent"
MANAGED_BY = "loft.sh/managed-by"


def plan(namespace: Object | None, binding: Object | None) -> list[Action]:
    """Return what is still to be done so that the owner, and nobody before them, has the owner's RoleBinding.

    Args:
        namespace: as observed; None when it is gone.
        binding: the RoleBinding OWNER_BINDING in it; None when there is none.
    """
    if namespace is None or not is_space(namespace) or namespace["metadata"].get("deletionTimestamp"):
        return []
    wanted = owner_binding(namespace)
    if wanted is None:
        return [_removal(binding)] if binding is not None and _is_ours(binding) else []
    if binding is None or not covers(binding, wanted):
        return [Apply(ROLEBINDINGS, wanted, MANAGER)]
    return []


def owner_binding(namespace: Object) -> Object | None:
    """Return the RoleBinding that a space's owner needs; None when nobody owns it."""
    annotations = namespace["metadata"].get("annotations") or {}
    group = ""
    if annotations.get(OWNER_USER):
        group = f"loft:user:{annotations[OWNER_USER]}"
    elif annotations.get(OWNER_TEAM):
        group = f"loft:team:{annotations[OWNER_TEAM]}"
    if not group:
        return None
    return {
        "apiVersion": ROLEBINDINGS.api_version,
        "kind": ROLEBINDINGS.kind,
        "metadata": {
            "name": OWNER_BINDING,
            "namespace": namespace["metadata"]["name"],
            "labels": {MANAGED_BY: MANAGER},
        },
        "roleRef": {"apiGroup": ROLEBINDINGS.group, "kind": "ClusterRole", "name": OWNER_ROLE},
        "subjects": [{"apiGroup": ROLEBINDINGS.group, "kind": "Group", "name": group}],
    }


def _is_ours(binding: Object) -> bool:
    return (binding["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER


def _removal(binding: Object) -> Delete:
    metadata = binding["metadata"]
    return Delete(ROLEBINDINGS, metadata["namespace"], metadata["name"], uid=metadata.get("uid", ""))
