"""Taints and cordons of host nodes on virtual Nodes, beside those of the tenant.

A scheduler inside has to know where the host's would let no Pod go. What the tenant taints or cordons stays: it is
told from the host's by an annotation that lists what we have put there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object

HOST_TAINTS = objects.PREFIX + "host-taints"
"""On a virtual Node: JSON list of [key, effect] of the taints that are the host's."""
_CORDON = ("node.kubernetes.io/unschedulable", "NoSchedule")
"""The taint of a cordoned node; it comes and goes with `spec.unschedulable`."""


def taint_key(taint: Object) -> tuple[str, str]:
    """Return what is unique among the taints of a node."""
    return (str(taint.get("key") or ""), str(taint.get("effect") or ""))


def shown_taints(host_spec: Object) -> list[Object]:
    """Return the taints of a host node as a virtual Node shows them, sorted."""
    fields = ("key", "value", "effect")
    taints = [{field: item[field] for field in fields if item.get(field)} for item in host_spec.get("taints") or ()]
    return sorted(taints, key=taint_key)


def ours(node: Object) -> set[tuple[str, str]]:
    """Return the keys of the taints on a virtual Node that we put there."""
    try:
        listed = json.loads(objects.annotations(node).get(HOST_TAINTS) or "[]")
        return {(str(key), str(effect)) for key, effect in listed}
    except (ValueError, TypeError):
        # The tenant has written something else; then nothing is known to be ours, and what is wanted is put there.
        return set()


def mark(taints: Sequence[Object]) -> str:
    """Return the annotation's value for these taints of the host."""
    return json.dumps([list(taint_key(item)) for item in taints], separators=(",", ":"))


def spec_change(node: Object, wanted: Object) -> Object:
    """Return the merge patch of a virtual Node that brings the host's taints and cordon, {} when they are there.

    Args:
        node: the virtual Node as last seen.
        wanted: a Node with the host's taints in `spec.taints` and its cordon in `spec.unschedulable`.
    """
    taints = shown_taints(objects.spec(wanted))
    before, have = ours(node), objects.spec(node).get("taints") or []
    after = {taint_key(item) for item in taints}
    kept = [item for item in have if taint_key(item) not in before | after]
    change: Object = {}
    spec: dict[str, Any] = {}
    if [item for item in have if taint_key(item) in before | after] != taints:
        spec["taints"] = [*kept, *taints] or None
    cordoned = bool(objects.spec(wanted).get("unschedulable"))
    if cordoned != bool(objects.spec(node).get("unschedulable")) and (cordoned or _CORDON in before):
        spec["unschedulable"] = cordoned or None
    if spec:
        change["spec"] = spec
    if mark(taints) != (objects.annotations(node).get(HOST_TAINTS) or mark([])):
        change["metadata"] = {"annotations": {HOST_TAINTS: mark(taints)}}
    return change
