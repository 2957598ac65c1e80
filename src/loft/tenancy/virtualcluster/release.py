"""Which Helm release runs a virtual cluster: the one of its name, unless it took over one that was there before.

A control plane's names (StatefulSet, Service, Secrets, the host objects of its tenants) come from its release and
cannot change, so a virtual cluster that claims a warm one keeps that one's release. Two virtual clusters of a
namespace never work on one release: the older has it, and a deletion leaves it to the other. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loft.api.virtualcluster import VirtualCluster

Object = dict[str, Any]

WARM = "loft.sh/warm"
"""Label of a virtual cluster that runs before anybody asked for it, and of its namespace."""
RELEASE = "release"
"""Index of the cached VirtualClusters by `namespace/release`."""


def release_name(cluster: VirtualCluster) -> str:
    """Return the name of a virtual cluster's release."""
    return (cluster.spec.helm_release.name if cluster.spec.helm_release else "") or cluster.metadata.name


def release_key(cluster: Object) -> str:
    """Return `namespace/release` of a VirtualCluster as read from the API."""
    metadata = cluster["metadata"]
    name = ((cluster.get("spec") or {}).get("helmRelease") or {}).get("name") or metadata["name"]
    return f"{metadata['namespace']}/{name}"


def others(cluster: VirtualCluster, sharing: Iterable[Object]) -> list[Object]:
    """Return those of `sharing` (VirtualClusters of the same release) that are not this one and stay."""
    return [
        other
        for other in sharing
        if other["metadata"].get("uid") != cluster.metadata.uid and not other["metadata"].get("deletionTimestamp")
    ]


def is_first(cluster: VirtualCluster, sharing: Iterable[Object]) -> bool:
    """Tell whether no older virtual cluster that stays has the same release; a warm one yields to who claims it."""
    own = (cluster.metadata.creation_timestamp or "", cluster.metadata.uid)
    return all(
        own < (other["metadata"].get("creationTimestamp") or "", other["metadata"].get("uid") or "")
        for other in others(cluster, sharing)
        if WARM not in (other["metadata"].get("labels") or {})
    )
