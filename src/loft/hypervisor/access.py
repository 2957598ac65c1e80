"""Who may do what inside the virtual cluster, as RBAC objects that the hypervisor keeps. Pure.

The gateway authenticates with its own certificate, which may do nothing but impersonate, and impersonates the caller:
user and groups `loft:user:NAME`, `loft:team:NAME`, and for whoever may reach this virtual cluster the group
ACCESS_GROUP. Groups with a wildcard do not exist in RBAC, hence that one.
"""

from __future__ import annotations

from typing import Any

from loft.api.virtualcluster import VirtualClusterAccess, VirtualClusterAccessRule
from loft.hypervisor.certificates import ADMIN_GROUP, GATEWAY_USER

ACCESS_GROUP = "loft:virtualcluster:access"
DEFAULT_ROLE = "cluster-admin"
EVERYBODY = "*"
RBAC = "rbac.authorization.k8s.io"

Object = dict[str, Any]


def access_objects(access: VirtualClusterAccess) -> list[Object]:
    """Return the RBAC objects for `spec.access`: the gateway's role, the administrators', the default's and the rules'.

    RBAC only adds: a rule gives its subjects a role beside the default one. To give somebody less than the default,
    set `defaultClusterRole` to the smaller role and name the others in rules.
    """
    default = access.default_cluster_role or DEFAULT_ROLE
    return [
        _impersonator(),
        _binding("loft:gateway", "loft:gateway", [_subject("User", GATEWAY_USER)]),
        _binding("loft:virtualcluster:admin", DEFAULT_ROLE, [_subject("Group", ADMIN_GROUP)]),
        _binding("loft:virtualcluster:default", default, [_subject("Group", ACCESS_GROUP)]),
        *(
            _binding(f"loft:virtualcluster:rule-{at}", rule.cluster_role, _subjects(rule))
            for at, rule in enumerate(access.rules)
            if rule.cluster_role and (rule.users or rule.teams)
        ),
    ]


def _impersonator() -> Object:
    """Return the gateway's ClusterRole. Neither service accounts nor anything but identities can be impersonated."""
    rules = [
        {"apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"]},
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["uids", "userextras/*"],
            "verbs": ["impersonate"],
        },
    ]
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "loft:gateway"},
        "rules": rules,
    }


def _subjects(rule: VirtualClusterAccessRule) -> list[Object]:
    if EVERYBODY in rule.users or EVERYBODY in rule.teams:
        return [_subject("Group", ACCESS_GROUP)]
    users = [_subject("Group", f"loft:user:{name}") for name in rule.users]
    return users + [_subject("Group", f"loft:team:{name}") for name in rule.teams]


def _subject(kind: str, name: str) -> Object:
    return {"kind": kind, "apiGroup": RBAC, "name": name}


def _binding(name: str, role: str, subjects: list[Object]) -> Object:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    }
