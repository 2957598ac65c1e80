"""Fields that a type does not have, found before they are silently dropped. Pure.

Source: Kubernetes API concepts, "Field validation" (KEP-2885).
"""

from __future__ import annotations

from typing import Any

from loft.api.schema import Schema

METADATA_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
UNKNOWN_MAX = 50


def unknown_fields(schema: Schema, obj: Any) -> list[str]:
    """Return the paths of fields that the schema does not have (the first UNKNOWN_MAX)."""
    found: list[str] = []
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    if isinstance(metadata, dict):
        found += [f"metadata.{name}" for name in metadata if name not in METADATA_FIELDS]
    _walk(schema, obj, "", found)
    return found[:UNKNOWN_MAX]


def _walk(schema: Schema, value: Any, path: str, found: list[str]) -> None:
    if path == "metadata" or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            _walk(schema["items"], item, f"{path}[{index}]", found)
    elif isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            place = f"{path}.{name}" if path else name
            if name not in schema["properties"]:
                found.append(place)
            else:
                _walk(schema["properties"][name], inner, place, found)
