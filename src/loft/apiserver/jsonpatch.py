"""JSON Patch (RFC 6902), for objects kept in another shape, where the backing server cannot apply it. Pure."""

from __future__ import annotations

import copy
from typing import Any

OPERATIONS_MAX = 1000


class PatchError(ValueError):
    """The patch is malformed or does not fit the object; the message names the operation."""


def apply(document: Any, operations: Any) -> Any:
    """Return the patched document; the input is not changed. Raises: PatchError."""
    if not isinstance(operations, list) or len(operations) > OPERATIONS_MAX:
        raise PatchError(f"a JSON patch is a list of at most {OPERATIONS_MAX} operations")
    document = copy.deepcopy(document)
    for number, operation in enumerate(operations):
        try:
            document = _one(document, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PatchError(f"operation {number} of the JSON patch cannot be applied: {error}") from error
    return document


def _one(document: Any, operation: Any) -> Any:
    name, path = operation["op"], _pointer(operation["path"])
    if name == "test":
        if _get(document, path) != operation["value"]:
            raise ValueError(f"test of {operation['path']} failed")
        return document
    if name == "add":
        return _add(document, path, copy.deepcopy(operation["value"]))
    if name == "remove":
        return _remove(document, path)
    if name == "replace":
        _get(document, path)
        return _add(_remove(document, path) if path else None, path, copy.deepcopy(operation["value"]))
    if name in ("move", "copy"):
        source = _pointer(operation["from"])
        value = copy.deepcopy(_get(document, source))
        if name == "move":
            if path[: len(source)] == source and path != source:
                raise ValueError("a value cannot be moved into itself")
            document = _remove(document, source)
        return _add(document, path, value)
    raise ValueError(f"{name!r} is not an operation")


def _pointer(text: Any) -> list[str]:
    if text == "":
        return []
    if not isinstance(text, str) or not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def _index(step: str, length: int) -> int:
    if not step.isascii() or not step.isdigit() or (len(step) > 1 and step[0] == "0"):
        raise ValueError(f"{step!r} is not an index")
    if int(step) >= length:
        raise IndexError(f"index {step} is out of range")
    return int(step)


def _get(value: Any, path: list[str]) -> Any:
    for step in path:
        value = value[_index(step, len(value))] if isinstance(value, list) else value[step]
    return value


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1), value)
    else:
        parent[last] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise ValueError("the whole object cannot be removed")
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[_index(last, len(parent))]
    else:
        del parent[last]
    return document
