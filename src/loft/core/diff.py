"""Comparing what we want with what a server stores, which has filled in defaults."""

from __future__ import annotations

from typing import Any


def covers(observed: Any, wanted: Any) -> bool:
    """Return whether everything wanted is there; more may be.

    Mappings may have further keys and lists are compared item by item in the same way, because an API
    server adds defaults inside list items too. An empty mapping or list that is wanted is covered by an
    absent one: servers drop empty fields.
    """
    if isinstance(wanted, dict):
        if not isinstance(observed, dict):
            return not wanted and observed is None
        return all(covers(observed.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(observed, list):
            return not wanted and observed is None
        return len(observed) == len(wanted) and all(
            covers(have, want) for have, want in zip(observed, wanted, strict=True)
        )
    return bool(observed == wanted)


def merge_patch(before: Any, after: Any) -> Any:
    """Return the JSON merge patch (RFC 7386) that turns `before` into `after`; {} when they are equal."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    patch: dict[str, Any] = {}
    for key in before.keys() | after.keys():
        if key not in after:
            patch[key] = None
        elif key not in before:
            patch[key] = after[key]
        elif before[key] != after[key]:
            patch[key] = merge_patch(before[key], after[key])
    return patch


def merge(base: Any, patch: Any) -> Any:
    """Return `base` with a JSON merge patch applied (RFC 7386); the inputs are not changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result
