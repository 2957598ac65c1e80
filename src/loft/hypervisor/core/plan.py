"""What is still to be done for one object of one kind, on either side.

Pure and level-based: the same inputs give the same steps, and once they took effect the plan is empty. A lost
event, a restart or a race only means that the next plan starts from what is there.

Guarantees: identity is the uid, so a re-created virtual object gets a new host object and the old one, with the
old tenant's data, is removed first; every host write and delete carries the uid of the object that was seen; a
host object without our mark is never written.
"""

from __future__ import annotations

import dataclasses

from loft.core.action import Create, Delete, Event, Patch, PatchKind
from loft.core.diff import apply_merge_patch, same
from loft.hypervisor.core import objects
from loft.hypervisor.core.body import back_patch, host_body, host_patch
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import HostPatch, Mapping, Pair, Refusal, Scope
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.pairing import belongs
from loft.hypervisor.core.side import Step, on_host, on_virtual
from loft.hypervisor.core.translate import walk

REFUSED = "SyncRefused"
NAME_TAKEN = "HostNameTaken"
REFUSALS_TOLD_MAX = 10
"""Refused fields with an Event each; those beyond share one, so that no object of a tenant's floods the Events."""
FIELDS_NAMED_MAX = 30
_VERSIONS = frozenset({"resourceVersion", "generation", "managedFields"})
"""What the server itself changes with every write."""


def plan(mapping: Mapping, virtual: Object | None, host: Object | None, names: Names, context: Context) -> list[Step]:
    """Return the steps still needed; an empty list means that both sides agree.

    Args:
        mapping: the kind.
        virtual, host: the objects as last seen, None when absent; never changed.
        names: names of this virtual cluster's host objects.
        context: facts around them.
    """
    if host is not None and not is_ours(host, names):
        return []
    if virtual is None:
        return remove(mapping, host)
    if host is not None and not belongs(mapping, virtual, host):
        return remove(mapping, host)
    pair = Pair(virtual, host, names, context)
    if mapping.lifecycle:
        steps = mapping.lifecycle(pair)
        if steps is not None:
            return steps
    if not mapping.wanted(virtual, context):
        return remove(mapping, host)
    if host is None and objects.is_deleting(virtual):
        return []
    scope = Scope(names, context, virtual, objects.namespace(virtual))
    wanted, refusals = host_body(mapping, virtual, scope)
    if host is None:
        return _create(mapping, pair, wanted, refusals)
    steps = _tell(virtual, refusals, context)
    if not (refusals and mapping.whole):
        changes = _update(mapping, wanted, host)
        steps += changes
        pair = dataclasses.replace(pair, in_step=not changes)
    return steps + (mapping.back(pair) or [] if mapping.back else bring_back(mapping, pair))


def is_all_done(steps: list[Step], host: Object | None, stored: Object) -> bool:
    """Whether the only step was a patch of the host object, and that now differs from before by the patch alone.

    Then nothing is left to do, for a plan whose steps took effect is empty. An object that was created, that somebody
    else changed in between, or that the host's admission changed further is to be looked at again.
    """
    if len(steps) != 1 or host is None:
        return False
    action = steps[0].action
    if steps[0].side != "host" or not isinstance(action, Patch) or action.kind != "merge" or action.subresource:
        return False
    expected, found = apply_merge_patch(host, action.patch), dict(stored)
    for obj in (expected, found):
        obj["metadata"] = {key: value for key, value in obj["metadata"].items() if key not in _VERSIONS}
    return same(expected, found)


def is_ours(host: Object, names: Names) -> bool:
    """Whether a host object belongs to this virtual cluster."""
    labels = objects.labels(host)
    if not objects.namespace(host) and labels.get(objects.HOST_NAMESPACE) != names.host_namespace:
        return False
    return labels.get(objects.MANAGED_BY) == names.virtual_cluster


def remove(mapping: Mapping, host: Object | None) -> list[Step]:
    """Return the steps that delete a host object of ours, none when it is going already and soon enough."""
    if host is None:
        return []
    grace_s = mapping.orphan_grace_s
    if objects.is_deleting(host):
        left_s = objects.metadata(host).get("deletionGracePeriodSeconds")
        if grace_s is None or left_s is None or left_s <= grace_s:
            return []
    namespace, name = objects.namespace(host), objects.name(host)
    return [on_host(Delete(mapping.resource, namespace, name, uid=objects.uid(host), grace_s=grace_s))]


def _create(mapping: Mapping, pair: Pair, wanted: Object, refusals: list[Refusal]) -> list[Step]:
    virtual, context = pair.virtual, pair.context
    if context.name_taken:
        taken = f"the host namespace has another {mapping.kind} named {wanted['metadata']['name']}: rename or remove it"
        return _show(mapping, virtual, taken) + _event(virtual, NAME_TAKEN, taken, context)
    if not refusals or mapping.closed:
        body = mapping.at_creation(wanted, pair) if mapping.at_creation else wanted
        return [on_host(Create(mapping.resource, body)), *_tell(virtual, refusals, context)]
    text = "; ".join(str(refusal) for refusal in refusals[:REFUSALS_TOLD_MAX])
    return _show(mapping, virtual, text) + _tell(virtual, refusals, context)


def _show(mapping: Mapping, virtual: Object, text: str) -> list[Step]:
    change = mapping.refused_status(virtual, text) if mapping.refused_status else None
    return [on_virtual(status_patch(mapping, virtual, change))] if change else []


def _tell(virtual: Object, refusals: list[Refusal], context: Context) -> list[Step]:
    texts = [str(refusal) for refusal in refusals[:REFUSALS_TOLD_MAX]]
    others = [refusal.field for refusal in refusals[REFUSALS_TOLD_MAX:]]
    if others:
        named = ", ".join(others[:FIELDS_NAMED_MAX])
        texts.append(f"{len(others)} more fields are refused: {named}{', …' if others[FIELDS_NAMED_MAX:] else ''}")
    return [
        step for text in texts for step in _event(virtual, REFUSED, f"not synced to the host cluster: {text}", context)
    ]


def _event(virtual: Object, reason: str, message: str, context: Context) -> list[Step]:
    if message in context.reported:
        return []
    return [on_virtual(Event(virtual, reason, message, "Warning"))]


def status_patch(mapping: Mapping, virtual: Object, change: Object, kind: PatchKind = "merge") -> Patch:
    """Return the patch of a virtual object's status subresource, only if it is still that object."""
    uid = objects.uid(virtual)
    body = {"metadata": {"uid": uid}, "status": change}
    return Patch(
        mapping.resource, objects.namespace(virtual), objects.name(virtual), body, kind, subresource="status", uid=uid
    )


def _update(mapping: Mapping, wanted: Object, host: Object) -> list[Step]:
    if objects.is_deleting(host):
        return []
    uid = objects.uid(host)
    patches = (mapping.update or _merge)(wanted, host, mapping)
    return [
        on_host(
            Patch(
                mapping.resource,
                objects.namespace(host),
                objects.name(host),
                change | {"metadata": change.get("metadata", {}) | {"uid": uid}},
                kind,
                subresource,
                uid,
            )
        )
        for kind, subresource, change in patches
    ]


def _merge(wanted: Object, host: Object, mapping: Mapping) -> list[HostPatch]:
    change = host_patch(wanted, host, mapping)
    return [("merge", "", change)] if change else []


def bring_back(mapping: Mapping, pair: Pair) -> list[Step]:
    """Return the steps that bring the host's fields onto the virtual object: its own part, then its status."""
    virtual, host = pair.virtual, pair.host
    if not mapping.to_virtual or host is None:
        return []
    scope = Scope(pair.names, pair.context, host, objects.namespace(virtual), strict=False, peer=virtual)
    wanted = walk(mapping.virtual_tree, host, scope)
    change = back_patch(wanted, virtual, mapping.owned_back)
    status = change.pop("status", None) if mapping.status_subresource else None
    namespace, name, uid = objects.namespace(virtual), objects.name(virtual), objects.uid(virtual)
    steps = []
    if change:
        body = change | {"metadata": change.get("metadata", {}) | {"uid": uid}}
        steps.append(on_virtual(Patch(mapping.resource, namespace, name, body, uid=uid)))
    if status:
        steps.append(on_virtual(status_patch(mapping, virtual, status)))
    return steps
