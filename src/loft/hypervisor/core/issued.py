"""Secrets that a controller of the host makes for a tenant's object, and that are shown inside under the tenant's name.

Such a Secret is the controller's: here it is only read, and only when a synced object names it. A Secret of that name
which the tenant made is never written; what the tenant changes in one that is shown becomes the tenant's own.
"""

from __future__ import annotations

from typing import Any

from loft.core.action import Create, Event, Patch
from loft.core.diff import merge_patch
from loft.core.resource import SECRETS
from loft.hypervisor.core import objects
from loft.hypervisor.core.body import digest
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.reflection import REFLECTED, is_reflected
from loft.hypervisor.core.side import Step, on_virtual, removal_inside

LET_GO = "LetGo"
TYPES = frozenset({"Opaque", "kubernetes.io/basic-auth", "kubernetes.io/dockerconfigjson", "kubernetes.io/tls"})
"""Types that are shown; service account tokens of the host never are."""


def is_shown(host: Object | None) -> bool:
    """Whether a Secret of the host can be shown: of a harmless type, and not one that was made of a tenant's."""
    if host is None or objects.is_deleting(host) or objects.MANAGED_BY in objects.labels(host):
        return False
    return host.get("type", "Opaque") in TYPES


def content(secret: Object) -> dict[str, Any]:
    """Return what is shown of a Secret."""
    return {"type": secret.get("type", "Opaque"), "data": secret.get("data") or {}}


def plan_issued(key: tuple[str, str], host: Object | None, virtual: Object | None, *, named: bool) -> list[Step]:
    """Return the steps still needed for one Secret; an empty list means that the inside shows the host.

    Args:
        key: namespace and name inside.
        host: the Secret of its host name, None when there is none.
        virtual: the Secret inside, with its content.
        named: whether an object that is on the host names it as issued.
    """
    if virtual is not None and (not is_reflected(virtual) or objects.is_deleting(virtual)):
        return []
    if host is None or not named or not is_shown(host):
        return removal_inside(SECRETS, virtual)
    wanted = content(host)
    applied = digest(wanted)
    if virtual is None:
        namespace, name = key
        metadata = {
            "name": name,
            "namespace": namespace,
            "labels": {REFLECTED: "true"},
            "annotations": {objects.APPLIED: applied},
        }
        return [on_virtual(Create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | wanted))]
    have = content(virtual)
    if digest(have) != objects.annotations(virtual).get(objects.APPLIED):
        return _let_go(virtual)
    if have["type"] != wanted["type"] or virtual.get("immutable"):
        return removal_inside(SECRETS, virtual)
    if have == wanted:
        return []
    marks = {"annotations": {objects.APPLIED: applied}}
    return [_patch(virtual, {"data": merge_patch(have["data"], wanted["data"])}, marks)]


def _patch(virtual: Object, change: Object, metadata: Object) -> Step:
    uid = objects.uid(virtual)
    body = change | {"metadata": metadata | {"uid": uid}}
    return on_virtual(Patch(SECRETS, objects.namespace(virtual), objects.name(virtual), body, uid=uid))


def _let_go(virtual: Object) -> list[Step]:
    text = "changed inside, so it is yours from now on; what the host issues under this name is no longer shown"
    marks = {"labels": {REFLECTED: None}, "annotations": {objects.APPLIED: None}}
    return [_patch(virtual, {}, marks), on_virtual(Event(virtual, LET_GO, text, "Warning"))]
