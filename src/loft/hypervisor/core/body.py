"""The host object as it should be, and the patch from what is there to that.

Three things can differ: the tenant changed or removed something (the digest of what we last wrote is another),
or the host lost something of ours (what is there no longer covers what we want). Fields the host filled in are
neither, and cause no write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from loft.core.diff import covers, merge_patch
from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import ABSENT, AnnotationRules, Mapping, Refusal, Scope
from loft.hypervisor.core.names import ANNOTATION_PREFIX, LABEL_PREFIX, Names, host_labels, host_name
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.translate import cross_annotations, walk

_METADATA = frozenset({"apiVersion", "kind", "metadata", "status"})
_encoder = msgspec.json.Encoder(order="sorted")

Marks = tuple[dict[str, str], dict[str, str]]


def marks(virtual: Object, kind: str, names: Names) -> Marks:
    """Return the labels and annotations that say whose host object this is."""
    labels = names.selector(objects.namespace(virtual)) if objects.namespace(virtual) else names.cluster_selector()
    annotations = {
        objects.OBJECT_NAME: objects.name(virtual),
        objects.OBJECT_NAMESPACE: objects.namespace(virtual),
        objects.OBJECT_UID: objects.uid(virtual),
        objects.OBJECT_KIND: kind,
    }
    return labels, annotations


def host_body(mapping: Mapping, virtual: Object, scope: Scope) -> tuple[Object, list[Refusal]]:
    """Return the wanted host object and what of the virtual object may not cross.

    No tenant label or annotation gets through unchanged; ownerReferences and finalizers never cross.
    """
    context = scope.context
    content = walk(mapping.host_tree, {key: virtual[key] for key in virtual if key not in _METADATA}, scope)
    labels, annotations = marks(virtual, mapping.key, scope.names)
    own = mapping.labels(virtual, context) if mapping.labels else host_labels(objects.labels(virtual))
    if mapping.annotations:
        annotations = mapping.annotations(virtual) | annotations
    if mapping.crossing:
        annotations = cross_annotations(mapping.crossing, virtual, scope) | annotations
    metadata: Object = {
        "name": mapping.named(virtual, context) if mapping.named else host_name(virtual, scope.names),
        "labels": own | labels,
        "annotations": annotations,
    }
    owner = context.settings.cluster_owner
    if mapping.resource.namespaced:
        metadata["namespace"] = scope.names.host_namespace
        owner = context.settings.owner
    if owner:
        metadata["ownerReferences"] = [owner]
    body = {"apiVersion": mapping.resource.api_version, "kind": mapping.kind, "metadata": metadata} | content
    annotations[objects.APPLIED] = digest(mapping.digested(body) if mapping.digested else body)
    checked = mapping.checks(virtual, context) if mapping.checks else []
    return body, scope.refusals + checked


def digest(body: Any) -> str:
    """Return a short digest of a body, equal for equal bodies whatever the order of keys."""
    return hashlib.blake2b(_encoder.encode(body), digest_size=12).hexdigest()


def at(obj: Object, path: tuple[str, ...]) -> Any:
    """Return the value at a path, ABSENT when a step is missing."""
    value: Any = obj
    for step in path:
        if not isinstance(value, dict) or value.get(step) is None:
            return ABSENT
        value = value[step]
    return value


def put(patch: Object, path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path of a patch under construction."""
    for step in path[:-1]:
        patch = patch.setdefault(step, {})
    patch[path[-1]] = value


def is_current(wanted: Object, host: Object) -> bool:
    """Whether what we last wrote to the host object is what we want now."""
    applied = wanted["metadata"]["annotations"][objects.APPLIED]
    return bool(objects.annotations(host).get(objects.APPLIED) == applied)


def host_patch(wanted: Object, host: Object, mapping: Mapping) -> Object:
    """Return the merge patch that makes a host object what we want, {} when it is."""
    current = is_current(wanted, host)
    patch = metadata_patch(wanted, host, mapping.crossing)
    for path in mapping.owned:
        want, have = at(wanted, path), at(host, path)
        if want is ABSENT:
            if have is not ABSENT and not current:
                put(patch, _topmost(path, wanted), None)
        elif isinstance(want, dict):
            _put_map(patch, path, (want, have), current)
        elif (not current and want != have and not (not want and have is ABSENT)) or not covers(_plain(have), want):
            put(patch, path, want)
    return patch


def _topmost(path: tuple[str, ...], wanted: Object) -> tuple[str, ...]:
    """Return the shortest path, below the first step, that is absent from what we want: no empty shells are left."""
    for length in range(min(2, len(path)), len(path)):
        if at(wanted, path[:length]) is ABSENT:
            return path[:length]
    return path


def _put_map(patch: Object, path: tuple[str, ...], sides: tuple[Object, Any], current: bool) -> None:
    want, have = sides
    before = have if isinstance(have, dict) else {}
    is_flat = not any(isinstance(value, dict | list) for value in want.values())
    if is_flat or not current or not covers(before, want):
        change = merge_patch(before, want)
        if change:
            put(patch, path, change)


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def metadata_patch(wanted: Object, host: Object, crossing: AnnotationRules | None = None) -> Object:
    """Return the merge patch for our labels and annotations; those of others on the host object stay."""
    change: Object = {}
    crossing_keys = crossing.crossing if crossing else ()
    for field, is_own, keys in (("labels", _is_own_label, ()), ("annotations", _is_own_annotation, crossing_keys)):
        want = wanted["metadata"][field]
        have = (host["metadata"].get(field)) or {}
        gone: Object = {key: None for key in have if key not in want and (is_own(key) or key in keys)}
        new = {key: value for key, value in want.items() if have.get(key) != value}
        if gone or new:
            change[field] = gone | new
    return {"metadata": change} if change else {}


def _is_own_label(key: str) -> bool:
    return key.startswith((LABEL_PREFIX, objects.PREFIX))


def _is_own_annotation(key: str) -> bool:
    return key.startswith((ANNOTATION_PREFIX, objects.PREFIX))


def back_patch(wanted: Object, virtual: Object, owned: Sequence[tuple[str, ...]]) -> Object:
    """Return the merge patch that brings the host's fields onto the virtual object, {} when they are there.

    `owned` are the paths that are the host's there.
    """
    patch: Object = {}
    for path in owned:
        want, have = at(wanted, path), at(virtual, path)
        if want is ABSENT:
            if have is not ABSENT and have not in ({}, []):
                put(patch, path, None)
        elif isinstance(want, dict):
            change = merge_patch(have if isinstance(have, dict) else {}, want)
            if change:
                put(patch, path, change)
        elif not covers(_plain(have), want):
            put(patch, path, want)
    return patch
