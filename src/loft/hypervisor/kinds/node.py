"""Node: a virtual Node stands for each host node that runs a Pod of the tenant, or for every one where they are shown.

It has the host node's name and address, so that the virtual API server asks the kubelet port there for logs and
exec, where the hypervisor answers. Labels and figures come from the host node where it may be read; which images or
other tenants' Pods it has is nobody's business.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from loft.core.action import Create, Delete, Patch
from loft.core.diff import merge_patch
from loft.core.resource import NODES
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import HOST_NODE, Object
from loft.hypervisor.core.side import Step, on_virtual
from loft.hypervisor.kinds.node_taints import HOST_TAINTS, mark, shown_taints, spec_change
from loft.hypervisor.settings import Settings

LABELS = ("beta.kubernetes.io/", "kubernetes.io/", "topology.kubernetes.io/", "node.kubernetes.io/instance-type")
"""Prefixes of host labels that tenants may see; those of the host's operator stay out."""
CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "Ready")
NODE_INFO = ("kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion", "operatingSystem", "architecture")
CONSERVATIVE = {"cpu": "2", "memory": "4Gi", "pods": "110", "ephemeral-storage": "20Gi"}
"""Figures shown while the host node cannot be read; the host schedules by its own."""


def relevant(host_node: Object) -> Object:
    """Return what of a host node is used here; a cache keeps only that (heartbeats change the rest all the time)."""
    status = objects.status(host_node)
    conditions = [
        {key: item[key] for key in ("type", "status", "reason", "message", "lastTransitionTime") if key in item}
        for item in status.get("conditions") or ()
        if item.get("type") in CONDITIONS
    ]
    labels = {key: value for key, value in objects.labels(host_node).items() if key.startswith(LABELS)}
    metadata = {key: objects.metadata(host_node).get(key) for key in ("name", "uid", "resourceVersion")}
    return {
        "metadata": metadata | {"labels": labels},
        "spec": _relevant_spec(objects.spec(host_node)),
        "status": {
            "addresses": [item for item in status.get("addresses") or () if item.get("type") == "InternalIP"],
            "capacity": status.get("capacity") or {},
            "allocatable": status.get("allocatable") or {},
            "conditions": conditions,
            "nodeInfo": {key: text for key, text in (status.get("nodeInfo") or {}).items() if key in NODE_INFO},
        },
    }


def _relevant_spec(host_spec: Object) -> Object:
    taints = shown_taints(host_spec)
    return ({"unschedulable": True} if host_spec.get("unschedulable") else {}) | ({"taints": taints} if taints else {})


def virtual_node(name: str, host_node: Object | None, host_ip: str, settings: Settings) -> Object:
    """Return the virtual Node for a host node.

    Args:
        name: the host node's name.
        host_node: the host Node (reduced by `relevant`), None when it may not be read.
        host_ip: `status.hostIP` of a host Pod there, "" while unknown; used when the Node may not be read.
        settings: of the virtual cluster.
    """
    seen = relevant(host_node) if host_node else {"metadata": {"labels": {}}, "spec": {}, "status": {}}
    status = seen["status"]
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"} | seen["metadata"]["labels"]
    addresses = status.get("addresses") or ([{"type": "InternalIP", "address": host_ip}] if host_ip else [])
    shown = [*addresses, {"type": "Hostname", "address": name}]
    if settings.node_address:
        # Its only one: API servers differ in which type they prefer.
        shown = [{"type": "InternalIP", "address": settings.node_address}]
    ready = {"type": "Ready", "status": "True", "reason": "HostNodeInUse", "message": "pods of this cluster run here"}
    info = {"operatingSystem": "linux", "kubeletVersion": settings.kubernetes_version} | (status.get("nodeInfo") or {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {HOST_NODE: name} | _taint_mark(seen["spec"])},
        "spec": seen["spec"],
        "status": {
            "addresses": shown,
            "capacity": status.get("capacity") or CONSERVATIVE,
            "allocatable": status.get("allocatable") or CONSERVATIVE,
            "conditions": status.get("conditions") or [ready],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": settings.kubelet_port}},
            "nodeInfo": info,
        },
    }


def _taint_mark(spec: Object) -> dict[str, str]:
    return {HOST_TAINTS: mark(spec["taints"])} if spec.get("taints") else {}


def inner_resources(node: Object | None, host_node: Object | None) -> frozenset[str]:
    """Return the extended resources that an administrator inside has given to a virtual Node.

    Only names with a domain: what has none is Kubernetes' own, and the host's to give.
    """
    if node is None or host_node is None:
        return frozenset()
    have, there = objects.status(node).get("capacity") or {}, objects.status(host_node).get("capacity") or {}
    return frozenset(name for name in have if "/" in name and name not in there)


def is_ours(node: Object) -> bool:
    """Whether a virtual Node stands for a host node; others are the tenant's own."""
    return objects.annotations(node).get(HOST_NODE) == objects.name(node)


def plan_node(node: Object | None, wanted: Object | None, now: datetime) -> list[Step]:
    """Return the steps for one virtual Node.

    Args:
        node: the virtual Node as last seen.
        wanted: what it should be (`virtual_node`), None when no Pod uses it any more.
        now: stamps heartbeat and transition of conditions that the host does not tell.
    """
    if node is not None and not is_ours(node):
        return []
    if wanted is None:
        if node is None or objects.is_deleting(node):
            return []
        return [on_virtual(Delete(NODES, "", objects.name(node), uid=objects.uid(node)))]
    name = objects.name(wanted)
    if node is None:
        stamped = wanted["status"] | {"conditions": _stamped(wanted["status"]["conditions"], now)}
        return [on_virtual(Create(NODES, wanted | {"status": stamped}))]
    uid = objects.uid(node)
    steps = []
    labels = {k: v for k, v in objects.labels(wanted).items() if objects.labels(node).get(k) != v}
    change = spec_change(node, wanted)
    if labels or change:
        # The version, too: a list of taints is replaced as a whole, and others write it as well.
        fence = {"uid": uid, "resourceVersion": objects.metadata(node)["resourceVersion"]}
        metadata = change.get("metadata", {}) | ({"labels": labels} if labels else {}) | fence
        steps.append(on_virtual(Patch(NODES, "", name, change | {"metadata": metadata}, uid=uid)))
    status = _status_change(objects.status(node), wanted["status"], now)
    if status:
        change = {"metadata": {"uid": uid}, "status": status}
        steps.append(on_virtual(Patch(NODES, "", name, change, subresource="status", uid=uid)))
    return steps


def _status_change(have: Object, wanted: Object, now: datetime) -> Object:
    change: Object = {}
    for field, value in wanted.items():
        if field == "conditions":
            if not _same_conditions(have.get(field) or [], value):
                change[field] = _stamped(value, now)
        elif isinstance(value, dict):
            # Further keys are the server's: it fills in empty fields of nodeInfo.
            part = {k: v for k, v in merge_patch(have.get(field) or {}, value).items() if v is not None}
            if part:
                change[field] = part
        elif have.get(field) != value:
            change[field] = value
    return change


def _same_conditions(have: list[Object], wanted: list[Object]) -> bool:
    def facts(items: list[Object]) -> list[tuple[Any, ...]]:
        return sorted((item["type"], item["status"], item.get("reason") or "") for item in items)

    return facts(have) == facts(wanted)


def _stamped(conditions: list[Object], now: datetime) -> list[Object]:
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{"lastTransitionTime": stamp} | item | {"lastHeartbeatTime": stamp} for item in conditions]
