"""Compare and patch plain objects.

`differences` answers the question every plan asks: would applying what we want change anything on the
server? It has to forgive what the API server does to every object (defaults filled in, quantities
normalised, empty lists and maps dropped), or a plan would never come to rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from loft.core import quantity

QUANTITY_PARENTS = frozenset({"limits", "requests", "capacity", "allocatable", "hard", "used", "overhead"})
"""Fields whose values are quantities: compared by value, since the API server rewrites their text."""

QUANTITY_FIELDS = frozenset({"sizeLimit"})

STRING_MAPS = frozenset(
    {"labels", "annotations", "matchLabels", "data", "binaryData", "nodeSelector", "selector"} | QUANTITY_PARENTS
)
"""Maps that are stored the same whether empty or absent. Other fields may mean something when empty
(`emptyDir: {}`, `namespaceSelector: {}`)."""

EXTENDED_LISTS = frozenset({"finalizers", "ownerReferences"})
"""Lists to which others add their own items in any object."""

ITEM_KEYS = ("uid", "name", "key", "containerPort", "port", "mountPath", "ip", "type")
"""Fields that tell items of an extended list apart, in order of preference."""


def merge_patch(old: Any, new: Any) -> Any:
    """Return the JSON merge patch (RFC 7386) that turns `old` into `new`; {} when they are equal.

    Limits of the format: a list is replaced as a whole, and a null inside `new` cannot be expressed.
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old or not same(old[key], value):
            patch[key] = merge_patch(old.get(key), value)
    return patch


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same JSON; unlike `==`, True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def apply_merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with a JSON merge patch (RFC 7386 §2) applied; the inputs are not changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


def covers(actual: Any, desired: Any, *, extended: Collection[str] = EXTENDED_LISTS) -> bool:
    """Tell whether `actual` already says everything that `desired` says (see `differences`)."""
    return next(differences(actual, desired, extended=extended), None) is None


def differences(actual: Any, desired: Any, *, extended: Collection[str] = EXTENDED_LISTS) -> Iterator[str]:
    """Yield the paths (`spec.containers[0].image`) at which `actual` lacks what `desired` says.

    Fields only in `actual` are forgiven everywhere. Lists must have the same length and agree item by item,
    apart from those in `extended`, in which items of others are forgiven. None, an empty list, and an empty
    map where maps of text are stored, are the same as absent; False, 0 and "" are not.
    """
    yield from _differences(actual, desired, extended, ("", ""))


def _differences(actual: Any, desired: Any, extended: Collection[str], place: tuple[str, str]) -> Iterator[str]:
    path, field = place
    if isinstance(desired, Mapping):
        if actual is None and (desired or field in STRING_MAPS):
            actual = {}
        if not isinstance(actual, Mapping):
            yield path or "."
            return
        for key, value in desired.items():
            here = f"{path}.{key}" if path else str(key)
            if field in QUANTITY_PARENTS and _equal_quantities(actual.get(key), value):
                continue
            yield from _differences(actual.get(key), value, extended, (here, str(key)))
    elif isinstance(desired, list):
        yield from _list_differences(actual, desired, extended, place)
    elif desired is not None and not _equal(actual, desired, field):
        yield path or "."


def _list_differences(
    actual: Any, desired: list[Any], extended: Collection[str], place: tuple[str, str]
) -> Iterator[str]:
    path, field = place
    if actual is None and not desired:
        return
    if not isinstance(actual, list):
        yield path or "."
    elif field in extended:
        for index, item in enumerate(desired):
            if not any(covers(other, item, extended=extended) for other in _candidates(actual, item)):
                yield f"{path}[{index}]"
    elif len(actual) != len(desired):
        yield path or "."
    else:
        for index, (one, other) in enumerate(zip(actual, desired, strict=True)):
            yield from _differences(one, other, extended, (f"{path}[{index}]", field))


def _candidates(actual: list[Any], item: Any) -> list[Any]:
    """Items of an extended list that can be the wanted one: those with the same key field, else all."""
    if isinstance(item, Mapping):
        for key in ITEM_KEYS:
            if key in item:
                return [other for other in actual if isinstance(other, Mapping) and other.get(key) == item[key]]
    return actual


def _equal(actual: Any, desired: Any, field: str) -> bool:
    if field in QUANTITY_FIELDS and _equal_quantities(actual, desired):
        return True
    return same(actual, desired)


def _equal_quantities(actual: Any, desired: Any) -> bool:
    kinds = (str, int, float)
    return isinstance(actual, kinds) and isinstance(desired, kinds) and quantity.equal(actual, desired)
