"""Which warm virtual clusters are made or removed, so that a wished number waits to be claimed. Pure.

A warm one is a VirtualCluster in a namespace of its own, both with the label WARM; namespace and release have an
opaque name, and its keys are its own from birth. Claiming takes the label off the namespace, in one write that only
one claimer can win; what comes after can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from loft.core.action import Action, Create, Delete, Patch
from loft.core.resource import NAMESPACES, VIRTUALCLUSTERS
from loft.tenancy.virtualcluster.release import WARM

Object = dict[str, Any]

FREE = "true"
"""Value of the label WARM of what waits to be claimed."""
RETIRED = "retired"
"""Value on a namespace that is going to be removed and can no longer be claimed."""
STARTING_MAX = 2
"""So many control planes start at a time: each takes a processor for some seconds."""
ID_LETTERS = "bcdfghjklmnpqrstvwxz"
ID_LENGTH = 10
"""20^10 names: nobody guesses one, and none comes twice."""


def is_warm(obj: Object) -> bool:
    """Tell whether a namespace or VirtualCluster waits to be claimed."""
    metadata = obj["metadata"]
    return _mark(obj) == FREE and not metadata.get("deletionTimestamp")


def _mark(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get(WARM) or "")


def is_ready(cluster: Object) -> bool:
    """Tell whether a VirtualCluster serves."""
    return (cluster.get("status") or {}).get("controlPlaneReady") is True


def ready(clusters: Sequence[Object]) -> list[Object]:
    """Return the warm VirtualClusters that serve, the oldest first."""
    found = [item for item in clusters if is_warm(item) and is_ready(item)]
    return sorted(found, key=lambda item: (item["metadata"].get("creationTimestamp") or "", item["metadata"]["name"]))


def claimed(namespaces: Sequence[Object], clusters: Sequence[Object]) -> list[Object]:
    """Return the warm VirtualClusters whose namespace was claimed: in a moment they are gone, or the claimer died."""
    known = {item["metadata"]["name"] for item in namespaces}
    return [item for item in clusters if is_warm(item) and item["metadata"]["namespace"] not in known]


def kept(cluster: Object) -> Patch:
    """Return the write that makes a claimed one an ordinary one, under the name that it was made with."""
    metadata = cluster["metadata"]
    patch = {"metadata": {"labels": {WARM: None}}}
    return Patch(VIRTUALCLUSTERS, metadata["namespace"], metadata["name"], patch, uid=metadata["uid"])


def plan(
    namespaces: Sequence[Object], clusters: Sequence[Object], size: int, new_id: Callable[[], str]
) -> list[Action]:
    """Return what is to be done now for those that wait.

    Args:
        namespaces: all with the label WARM, also those that are going.
        clusters: all VirtualClusters with the label WARM, also those that are going.
        size: how many shall be free.
        new_id: gives a name that nobody has.
    """
    warm = {item["metadata"]["name"]: item for item in namespaces if is_warm(item)}
    inside = {item["metadata"]["namespace"]: item for item in clusters if is_warm(item)}
    actions: list[Action] = [_cluster(name) for name in warm if name not in inside and not _is_going(name, clusters)]
    by_use = sorted(warm, key=lambda name: (name in inside and is_ready(inside[name]), name))
    actions += [_retired(warm[name]) for name in by_use[: max(0, len(warm) - size)]]
    actions += [_removed(item) for item in namespaces if _mark(item) == RETIRED and not _goes(item)]
    starting = sum(name not in inside or not is_ready(inside[name]) for name in warm)
    for _ in range(min(size - len(warm), STARTING_MAX - starting)):
        actions.append(Create(NAMESPACES, _namespace(new_id())))
    return actions


def _goes(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _retired(namespace: Object) -> Patch:
    """Return the write after which nobody can claim it; whoever claimed it since we looked makes it a conflict."""
    metadata = namespace["metadata"]
    patch = {"metadata": {"labels": {WARM: RETIRED}, "resourceVersion": metadata["resourceVersion"]}}
    return Patch(NAMESPACES, "", metadata["name"], patch, uid=metadata["uid"])


def _removed(namespace: Object) -> Delete:
    return Delete(NAMESPACES, "", namespace["metadata"]["name"], uid=namespace["metadata"]["uid"])


def _is_going(namespace: str, clusters: Sequence[Object]) -> bool:
    return any(item["metadata"]["namespace"] == namespace for item in clusters)


def _namespace(name: str) -> Object:
    labels = {WARM: FREE}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"vcluster-{name}", "labels": labels}}


def _cluster(namespace: str) -> Create:
    name = namespace.removeprefix("vcluster-")
    metadata = {"name": name, "namespace": namespace, "labels": {WARM: FREE}}
    body = {"apiVersion": VIRTUALCLUSTERS.api_version, "kind": VIRTUALCLUSTERS.kind, "metadata": metadata, "spec": {}}
    return Create(VIRTUALCLUSTERS, body)
