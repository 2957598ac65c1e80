"""Status of a Pod, from the host's kubelet to the virtual Pod, in the tenant's words.

Conditions are merged by type, so that conditions which controllers inside the virtual cluster set are kept. The
quality of service class stays the virtual API server's own: it is immutable after creation.
"""

from __future__ import annotations

from typing import Any

from loft.core.action import Create, Patch
from loft.core.diff import covers
from loft.core.resource import PODS
from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import ABSENT, At, Compute, Copy, Pair, Rule, Scope, compile_rules
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step, on_virtual
from loft.hypervisor.core.texts import virtual_text
from loft.hypervisor.core.translate import walk
from loft.hypervisor.kinds.pod_ephemeral import refused_statuses
from loft.hypervisor.kinds.pod_gates import bring_gates, gate_types
from loft.hypervisor.kinds.pod_hosts import without_hosts

BINDING = "binding"
"""The subresource by which a scheduler gives a Pod its node."""

_C = "status.{containerStatuses,initContainerStatuses,ephemeralContainerStatuses}[*]"
_STATE = _C + ".{state,lastState}"
_CLEARED = ("reason", "message")
_PASSING = ("reason", "message", "resize", "nominatedNodeName")
_VANISHING = ("AllContainersRestarting", "PodResizeInProgress", "PodResizePending")
"""Conditions that the host takes away when they are over."""
_MERGED_BY_IP = ("podIPs", "hostIPs")


def text(value: Any, at: At) -> Any:
    """Return a message with virtual names."""
    if value is ABSENT:
        return ABSENT
    return virtual_text(str(value), at.scope.source, at.scope.peer, at.scope.names)


STATUS: tuple[Rule, ...] = (
    Copy("status.{phase,reason,hostIP,podIP,startTime,resize,nominatedNodeName,allocatedResources}"),
    Copy("status.resources.{limits,requests}"),
    Compute("status.message", text),
    Copy("status.{hostIPs,podIPs}[*].ip"),
    Copy("status.conditions[*].{type,status,lastProbeTime,lastTransitionTime,reason}"),
    Compute("status.conditions[*].message", text),
    Copy(_C + ".{name,ready,started,restartCount,image,imageID,containerID,stopSignal,allocatedResources}"),
    Copy(_STATE + ".running.startedAt"),
    Copy(_STATE + ".waiting.reason"),
    Compute(_STATE + ".waiting.message", text),
    Copy(_STATE + ".terminated.{exitCode,signal,reason,startedAt,finishedAt,containerID}"),
    Compute(_STATE + ".terminated.message", text),
    Copy(_C + ".resources.{limits,requests}"),
    Copy(_C + ".volumeMounts[*].{name,mountPath,readOnly,recursiveReadOnly}"),
    Copy(_C + ".user.linux.{uid,gid,supplementalGroups}"),
)


def back(pair: Pair) -> list[Step] | None:
    """Bind the virtual Pod to the node that the host chose, then bring the status."""
    virtual, host = pair.virtual, pair.host
    if host is None:
        return []
    steps = []
    node = objects.spec(host).get("nodeName")
    if node and not objects.spec(virtual).get("nodeName") and not objects.is_deleting(virtual):
        steps.append(on_virtual(Create(PODS, binding(virtual, node), subresource=BINDING)))
    steps += bring_gates(pair, host)
    change = status_change(pair, host)
    if change:
        name, namespace, uid = objects.name(virtual), objects.namespace(virtual), objects.uid(virtual)
        body = {"metadata": {"uid": uid}, "status": change}
        steps.append(on_virtual(Patch(PODS, namespace, name, body, "strategic", "status", uid)))
    return steps


def binding(virtual: Object, node: str) -> Object:
    """Return the Binding of a virtual Pod; its uid makes the API server refuse a re-created one."""
    metadata = {key: objects.metadata(virtual)[key] for key in ("name", "namespace", "uid")}
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}


def status_change(pair: Pair, host: Object) -> Object:
    """Return the strategic merge patch of status, {} when the virtual Pod shows the host's."""
    scope = Scope(pair.names, pair.context, host, objects.namespace(pair.virtual), strict=False, peer=pair.virtual)
    wanted = walk(_tree, {"status": objects.status(host)}, scope).get("status") or {}
    have = objects.status(pair.virtual)
    without_hosts(wanted, pair.virtual)
    _observe(pair, host, wanted)
    refused = refused_statuses(pair)
    if refused:
        wanted["ephemeralContainerStatuses"] = [*wanted.get("ephemeralContainerStatuses", ()), *refused]
    change: Object = {}
    for field, value in wanted.items():
        if field == "conditions":
            conditions = _conditions(value, pair.virtual)
            if conditions:
                change[field] = conditions
        elif not covers(have.get(field), value):
            change[field] = [{"$patch": "replace"}, *value] if field in _MERGED_BY_IP else value
    for field in _PASSING:
        if field in have and field not in wanted:
            change[field] = None
    return change


def _observe(pair: Pair, host: Object, wanted: Object) -> None:
    """Say what generation of the virtual Pod the host has seen, as far as it has seen the newest of its own."""
    newest, ours = objects.metadata(host).get("generation"), objects.metadata(pair.virtual).get("generation")
    if not pair.in_step or not newest or not ours:
        return
    if objects.status(host).get("observedGeneration") == newest:
        wanted["observedGeneration"] = ours
    for condition in wanted.get("conditions") or ():
        if objects.find_condition(host, condition["type"]).get("observedGeneration") == newest:
            condition["observedGeneration"] = ours


def _conditions(wanted: list[Object], virtual: Object) -> list[Object]:
    """Return the conditions that differ; one that lost its reason or message loses it inside too.

    Those that gate readiness are the tenant's own and go the other way.
    """
    seen = {condition["type"] for condition in wanted}
    over = [kind for kind in _VANISHING if kind not in seen and objects.find_condition(virtual, kind)]
    result: list[Object] = [{"type": kind, "$patch": "delete"} for kind in over]
    own = gate_types(virtual)
    for condition in wanted:
        if condition["type"] in own:
            continue
        have = objects.find_condition(virtual, condition["type"])
        gone = {field: None for field in _CLEARED if field in have and field not in condition}
        if gone or not covers(have, condition):
            result.append(condition | gone)
    return result


_tree = compile_rules(STATUS)
