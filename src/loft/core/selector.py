"""Label and field selectors: parsed once, matched in memory.

Source: kubernetes.io, "Labels and Selectors" (equality- and set-based requirements).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec


class Requirement(msgspec.Struct, frozen=True):
    """`operator` is one of =, !=, in, notin, exists, !."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        """Return whether labels meet the requirement; != and notin are met by an absent label."""
        value = labels.get(self.key)
        if self.operator == "exists":
            return value is not None
        if self.operator == "!":
            return value is None
        if self.operator in ("=", "in"):
            return value is not None and value in self.values
        return value not in self.values


_SET = re.compile(r"^([^\s!=,()]+)\s+(in|notin)\s+\(([^()]*)\)$")
_EQUAL = re.compile(r"^([^\s!=,()]+)\s*(==|=|!=)\s*([^\s=!,()]*)$")
_NAME = re.compile(r"^[^\s!=,()]+$")


def parse(text: str) -> tuple[Requirement, ...]:
    """Return the requirements of a selector; "" has none and matches everything.

    Raises: ValueError naming the part that is no requirement.
    """
    found = []
    for part in filter(None, (part.strip() for part in re.split(r",(?![^(]*\))", text))):
        if match := _SET.match(part):
            values = tuple(value.strip() for value in match[3].split(","))
            found.append(Requirement(match[1], match[2], values))
        elif match := _EQUAL.match(part):
            found.append(Requirement(match[1], "!=" if match[2] == "!=" else "=", (match[3],)))
        elif part.startswith("!") and _NAME.match(part[1:].strip()):
            found.append(Requirement(part[1:].strip(), "!"))
        elif _NAME.match(part):
            found.append(Requirement(part, "exists"))
        else:
            raise ValueError(f"{part!r} is not a selector requirement")
    return tuple(found)


def matches(requirements: tuple[Requirement, ...], labels: dict[str, str]) -> bool:
    """Return whether labels meet all requirements."""
    return all(requirement.matches(labels) for requirement in requirements)


def matches_object_selector(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    """Return whether labels meet a LabelSelector object; None matches nothing, {} everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for expression in selector.get("matchExpressions") or []:
        operator = names.get(expression.get("operator", ""))
        if operator is None:
            return False
        if not Requirement(expression["key"], operator, tuple(expression.get("values") or ())).matches(labels):
            return False
    return True


def matches_fields(text: str, fields: dict[str, str]) -> bool:
    """Return whether fields (such as `metadata.name`) meet a field selector.

    Raises: ValueError for a field that is not among those given, as API servers do.
    """
    for requirement in parse(text):
        if requirement.key not in fields or requirement.operator not in ("=", "!="):
            raise ValueError(f"field selector {requirement.key!r} is not supported; use {', '.join(fields)}")
        if not requirement.matches(fields):
            return False
    return True
