"""Objects as the Table that `kubectl get` prints. Pure: the time is an argument.

Source: meta.k8s.io/v1 Table; ages as Kubernetes prints them (apimachinery, HumanDuration's documented steps).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from loft.api.crd import Column
from loft.apiserver.call import Object

NAME = Column("Name", "string", ".metadata.name", "Name of the object, unique in its scope.")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY


def table(
    columns: tuple[Column, ...], items: list[Object], metadata: Object, now: datetime, include: str = "Metadata"
) -> Object:
    """Return the Table of some objects.

    Args:
        columns: after the name, which is always first.
        items: the objects, in order.
        metadata: of the list (resourceVersion, continue).
        now: what ages are counted to.
        include: what each row carries: None, Metadata or Object.
    """
    shown = (NAME, *columns)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in shown],
        "rows": [
            {"cells": [cell(column, item, now) for column in shown], "object": _included(item, include)}
            if include != "None"
            else {"cells": [cell(column, item, now) for column in shown]}
            for item in items
        ],
    }


def partial_metadata(item: Object) -> Object:
    """Return an object's metadata alone, as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item.get("metadata") or {}}


def cell(column: Column, item: Object, now: datetime) -> Any:
    """Return what a column shows of an object; None for nothing."""
    value = at_path(item, column.path)
    if column.type == "date":
        return _age(value, now)
    if isinstance(value, list):
        return ",".join(str(entry) for entry in value)
    return value


def at_path(item: Object, path: str) -> Any:
    """Return the value at a path such as `.metadata.annotations.example\\.com/x`; None when it is not there."""
    value: Any = item
    for step in re.split(r"(?<!\\)\.", path.lstrip(".")):
        if not isinstance(value, dict):
            return None
        value = value.get(step.replace("\\.", "."))
    return value


def duration(seconds: int) -> str:
    """Return a duration in the two most telling units, as Kubernetes prints ages."""
    if seconds < 0:
        return "0s" if seconds > -2 else "<invalid>"
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    for limit, unit, part, names in (
        (10 * _MINUTE, _MINUTE, 1, "ms"),
        (3 * _HOUR, _MINUTE, 0, "m"),
        (8 * _HOUR, _HOUR, _MINUTE, "hm"),
        (2 * _DAY, _HOUR, 0, "h"),
        (8 * _DAY, _DAY, _HOUR, "dh"),
        (2 * _YEAR, _DAY, 0, "d"),
        (8 * _YEAR, _YEAR, _DAY, "yd"),
    ):
        if seconds < limit:
            rest = seconds % unit // part if part else 0
            return f"{seconds // unit}{names[0]}" + (f"{rest}{names[1]}" if rest else "")
    return f"{seconds // _YEAR}y"


def _age(value: Any, now: datetime) -> str | None:
    if not isinstance(value, str) or not value:
        return "<unknown>"
    try:
        return duration(int((now - datetime.fromisoformat(value)).total_seconds()))
    except (ValueError, TypeError):
        return "<invalid>"


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column is NAME else "",
        "description": column.description or column.path.lstrip("."),
        "priority": column.priority,
    }


def _included(item: Object, include: str) -> Object:
    return item if include == "Object" else partial_metadata(item)
