"""Objects of the host that are shown inside, read-only: classes that tenants may name.

The same discipline as for synced kinds, in the other direction: fields nobody lists never cross, a change on the host
follows, a change inside is undone, and an object of that name which the tenant made stays the tenant's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from loft.core.action import Create, Patch
from loft.core.resource import Resource
from loft.hypervisor.core import objects
from loft.hypervisor.core.body import back_patch
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Node, Rule, Scope, compile_rules, owned_paths
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import PREFIX, Object
from loft.hypervisor.core.side import Step, on_virtual, removal_inside
from loft.hypervisor.core.translate import walk
from loft.hypervisor.settings import Settings

REFLECTED = PREFIX + "reflected"
"""Label of an object inside that shows one of the host."""
_BEFORE = "loft.sh/kept"
"""The label that reflected StorageClasses had in earlier versions."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reflection:
    """One kind of the host that is shown inside."""

    resource: Resource
    rules: tuple[Rule, ...]
    allowed: Callable[[Settings], Sequence[str]]
    """Names that are shown; `*` is every one."""
    annotations: tuple[str, ...] = ()
    """Annotations that are shown with the object."""
    immutable: tuple[str, ...] = ()
    """First steps of paths which an API server does not let change: then the object is made anew."""
    status_subresource: bool = False
    """Whether the status inside is written by a subresource of its own; a create does not keep it then."""
    name: str = ""
    """How the kind is called among the synced kinds; by default its Kubernetes kind."""
    tree: Node = dataclasses.field(init=False)
    owned: tuple[tuple[str, ...], ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        tree = compile_rules(self.rules)
        object.__setattr__(self, "tree", tree)
        notes = [("metadata", "annotations", key) for key in self.annotations]
        object.__setattr__(self, "owned", (*owned_paths(tree), *notes))

    @property
    def key(self) -> str:
        """The kind's key among the synced kinds."""
        return self.name or self.resource.kind


def is_reflected(virtual: Object) -> bool:
    """Whether an object inside shows one of the host; others are the tenant's own."""
    labels = objects.labels(virtual)
    return REFLECTED in labels or labels.get(_BEFORE) == "true"


def is_allowed(name: str, allowed: Sequence[str]) -> bool:
    """Whether a name of the host is for tenants; what Kubernetes itself has in every cluster never is."""
    return ("*" in allowed or name in allowed) and not name.startswith("system-")


def is_shown(host: Object, allowed: Sequence[str]) -> bool:
    """Whether tenants see an object of the host: it is offered, and no virtual cluster's own."""
    if objects.is_deleting(host) or objects.MANAGED_BY in objects.labels(host):
        return False
    return is_allowed(objects.name(host), allowed)


def reflected(reflection: Reflection, host: Object, names: Names, context: Context) -> Object:
    """Return what is shown of a host object."""
    scope = Scope(names, context, host, objects.namespace(host), strict=False)
    content: Object = walk(reflection.tree, {key: host[key] for key in host if key != "metadata"}, scope)
    metadata: Object = {"name": objects.name(host), "labels": {REFLECTED: "true"}}
    notes = {key: text for key, text in objects.annotations(host).items() if key in reflection.annotations}
    if notes:
        metadata["annotations"] = notes
    resource = reflection.resource
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata} | content


def plan_reflection(
    reflection: Reflection, host: Object | None, virtual: Object | None, names: Names, context: Context
) -> list[Step]:
    """Return the steps still needed for one name; an empty list means that the inside shows the host."""
    if virtual is not None and (not is_reflected(virtual) or objects.is_deleting(virtual)):
        return []
    if host is None or not is_shown(host, reflection.allowed(context.settings)):
        return removal_inside(reflection.resource, virtual)
    wanted = reflected(reflection, host, names, context)
    if virtual is None:
        kept = {key: value for key, value in wanted.items() if not (reflection.status_subresource and key == "status")}
        return [on_virtual(Create(reflection.resource, kept))]
    change = back_patch(wanted, virtual, reflection.owned)
    if REFLECTED not in objects.labels(virtual):
        change["metadata"] = change.get("metadata", {}) | {"labels": {REFLECTED: "true"}}
    if any(step in change for step in reflection.immutable):
        return removal_inside(reflection.resource, virtual)
    status = change.pop("status", None) if reflection.status_subresource else None
    steps = [_patch(reflection, virtual, change)] if change else []
    return steps + ([_patch(reflection, virtual, {"status": status}, "status")] if status else [])


def _patch(reflection: Reflection, virtual: Object, change: Object, subresource: str = "") -> Step:
    uid = objects.uid(virtual)
    body = change | {"metadata": change.get("metadata", {}) | {"uid": uid}}
    return on_virtual(Patch(reflection.resource, "", objects.name(virtual), body, subresource=subresource, uid=uid))
