"""What a limited access key may do: deny is the default, and a rule must match in all it restricts.

A key with a scope can only narrow what its holder may do; RBAC still decides the rest at the API server.
Fields and their meaning: AccessKeyScopeRule of storage.loft.sh/v1. An empty list in a rule restricts
nothing in that respect, with these exceptions, each of which closes a way round (CVE-2026-22806):

- a rule with resources or namespaces does not cover paths outside the resource API, and one with
  nonResourceURLs alone covers nothing else;
- a rule with namespaces covers the Namespace object itself only if its resources name `namespaces`, and
  requests inside a virtual cluster only if it says so (requestTargets or virtualClusters);
- a rule with a cluster or virtual clusters covers nothing elsewhere;
- a limited key never makes credentials at the centre.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from loft.api.accesskey import AccessKeyScope, AccessKeyScopeRule, GroupResources
from loft.identity.requestinfo import RequestInfo

TargetKind = Literal["Management", "Cluster", "VCluster"]

_CREDENTIALS = frozenset({"ownedaccesskeys", "accesskeys", "resetaccesskeys"})
_READING = frozenset({"get", "list", "watch", "delete"})


class ScopedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a scope sees it."""

    target: TargetKind
    info: RequestInfo
    cluster: str = ""
    """Name of the connected cluster; "" for the management API."""
    namespace: str = ""
    """Of the virtual cluster on its host, for target VCluster."""
    virtual_cluster: str = ""
    is_upgrade: bool = False

    @property
    def verb(self) -> str:
        """The verb that counts: any upgrade is `create`.

        The API server takes a WebSocket exec, which is a GET, for `get`; a key that may only read must not
        be able to run commands.
        """
        return "create" if self.is_upgrade and self.info.verb else self.info.verb


def is_allowed(scope: AccessKeyScope | None, request: ScopedRequest) -> bool:
    """Tell whether a key with this scope may make the request; no scope means not limited.

    A request without a verb (unknown method) is never allowed, whatever the scope.
    """
    if not request.verb:
        return False
    if scope is None:
        return True
    if _makes_credentials(request):
        return False
    return any(_matches(rule, request) for rule in scope.rules)


def _makes_credentials(request: ScopedRequest) -> bool:
    info = request.info
    if request.target != "Management" or not info.is_resource or request.verb in _READING:
        return False
    return info.resource in _CREDENTIALS or info.subresource in _CREDENTIALS


def _matches(rule: AccessKeyScopeRule, request: ScopedRequest) -> bool:
    return (
        _listed(rule.verbs, request.verb)
        and _listed(rule.request_targets, request.target)
        and _matches_place(rule, request)
        and (_matches_resource(rule, request) if request.info.is_resource else _matches_path(rule, request.info.path))
    )


def _matches_place(rule: AccessKeyScopeRule, request: ScopedRequest) -> bool:
    if rule.cluster and (request.target == "Management" or rule.cluster != request.cluster):
        return False
    if rule.virtual_clusters:
        return request.target == "VCluster" and any(
            reference.name == request.virtual_cluster and reference.namespace == request.namespace
            for reference in rule.virtual_clusters
        )
    if rule.namespaces and request.target == "VCluster":
        return "VCluster" in rule.request_targets
    return True


def _matches_resource(rule: AccessKeyScopeRule, request: ScopedRequest) -> bool:
    info = request.info
    if rule.non_resource_urls and not rule.resources and not rule.namespaces:
        return False
    if rule.namespaces:
        if info.namespace not in rule.namespaces and not ("*" in rule.namespaces and info.namespace):
            return False
        if info.resource == "namespaces" and not any("namespaces" in entry.resources for entry in rule.resources):
            return False
    return not rule.resources or any(_covers(entry, info) for entry in rule.resources)


def _covers(entry: GroupResources, info: RequestInfo) -> bool:
    if entry.group not in (info.group, "*"):
        return False
    if entry.resource_names and info.name not in entry.resource_names:
        return False
    full = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    any_subresource = f"*/{info.subresource}" if info.subresource else "*"
    return not entry.resources or any(wanted in ("*", full, any_subresource) for wanted in entry.resources)


def _matches_path(rule: AccessKeyScopeRule, path: str) -> bool:
    if not rule.non_resource_urls:
        return not rule.resources and not rule.namespaces
    # `*` stands only at the end, as in RBAC: anything may follow.
    return any(
        path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
        for pattern in rule.non_resource_urls
    )


def _listed(wanted: list[str], value: str) -> bool:
    return not wanted or "*" in wanted or value in wanted
