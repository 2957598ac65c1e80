"""Readiness gates: conditions that controllers inside set on a virtual Pod go to the host Pod.

The host's kubelet says whether a Pod is ready, so it must see them; all other conditions flow the other way.
Source: KEP-580; kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle (readiness gates).
"""

from __future__ import annotations

from loft.core.action import Patch
from loft.core.diff import covers
from loft.core.resource import PODS
from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import Pair
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step, on_host

HOST_CONDITIONS = frozenset(
    {
        "AllContainersRestarting",
        "ContainersReady",
        "DisruptionTarget",
        "Initialized",
        "PodReadyToStartContainers",
        "PodResizeInProgress",
        "PodResizePending",
        "PodScheduled",
        "Ready",
    }
)
"""Conditions of Kubernetes itself: a gate that names one of them waits for the host's."""
_FIELDS = ("type", "status", "reason", "message", "lastProbeTime", "lastTransitionTime")
_CLEARED = ("reason", "message")


def gate_types(pod: Object) -> list[str]:
    """Return the types of the conditions that the tenant sets and the host's kubelet reads."""
    gates = [gate.get("conditionType") or "" for gate in objects.spec(pod).get("readinessGates") or ()]
    return [kind for kind in dict.fromkeys(gates) if kind and kind not in HOST_CONDITIONS]


def bring_gates(pair: Pair, host: Object) -> list[Step]:
    """Return the step that gives the host Pod the conditions its readiness depends on."""
    change = []
    for kind in gate_types(pair.virtual):
        wanted, have = objects.find_condition(pair.virtual, kind), objects.find_condition(host, kind)
        if not wanted:
            change += [{"type": kind, "$patch": "delete"}] if have else []
            continue
        shown = {field: wanted[field] for field in _FIELDS if wanted.get(field) is not None}
        gone = {field: None for field in _CLEARED if field in have and field not in shown}
        if gone or not covers(have, shown):
            change.append(shown | gone)
    if not change:
        return []
    uid = objects.uid(host)
    body = {"metadata": {"uid": uid}, "status": {"conditions": change}}
    return [on_host(Patch(PODS, objects.namespace(host), objects.name(host), body, "strategic", "status", uid))]
