"""Label and field selectors: parse, match, print.

Used where a selector has to be judged on our side (aggregated APIs, synced Services, access rules) with the
API server's meaning. Sources: kubernetes.io/docs "Labels and Selectors", "Field Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

LENGTH_MAX = 16_384
"""Longest selector text that is looked at."""

_KEY = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]{0,251}[A-Za-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_KEY_FORM = re.compile(_KEY)
_VALUE_FORM = re.compile(_VALUE)
_TERM = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<key1>{_KEY})"
    rf"|(?P<key2>{_KEY})\s*(?:(?P<operator>==|=|!=|>|<)\s*(?P<value>{_VALUE})"
    rf"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", "in": "In", "notin": "NotIn", ">": "Gt", "<": "Lt"}


class Requirement(msgspec.Struct, frozen=True):
    """One term: `operator` is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels meet this term; NotIn is met where the key is absent."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return value is not None and _compare(value, self.values[0], self.operator)
        raise ValueError(f"unknown selector operator {self.operator!r}")

    def __str__(self) -> str:
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "Gt":
                return f"{self.key}>{self.values[0]}"
            case "Lt":
                return f"{self.key}<{self.values[0]}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator == 'In' else '!='}{self.values[0]}"
        return f"{self.key} {self.operator.lower()} ({','.join(sorted(self.values))})"


class Selector(msgspec.Struct, frozen=True):
    """Terms that all have to be met; without terms everything matches, with `nothing` nothing does."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Tell whether an object with these labels is selected."""
        return not self.nothing and all(term.matches(labels or {}) for term in self.requirements)

    def __str__(self) -> str:
        if self.nothing:
            raise ValueError("a selector that matches nothing cannot be written as text")
        return ",".join(str(term) for term in self.requirements)


def parse_labels(text: str) -> Selector:
    """Parse the text form: `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>5`.

    Raises: ValueError naming the place that cannot be read.
    """
    if len(text) > LENGTH_MAX:
        raise ValueError(f"label selector is longer than {LENGTH_MAX} characters")
    terms: list[Requirement] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TERM.match(text, position)
        if match is None or (match.end() == len(text) and text.rstrip().endswith(",")):
            raise ValueError(f"label selector {text!r} cannot be read at {text[position:][:32]!r}")
        terms.append(_term(match, text))
        position = match.end()
    return Selector(tuple(terms))


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """Read a LabelSelector object (`matchLabels`, `matchExpressions`); None selects nothing, {} everything.

    Raises: ValueError for an operator or a form that the API server would refuse.
    """
    if selector is None:
        return Selector(nothing=True)
    terms = [Requirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator, values = expression.get("operator"), tuple(expression.get("values") or ())
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise ValueError(f"unknown selector operator {operator!r}")
        if (operator in ("In", "NotIn")) != bool(values):
            raise ValueError(f"selector operator {operator} with {len(values)} values")
        terms.append(Requirement(expression["key"], operator, values))
    return Selector(tuple(terms))


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """Read a plain map of labels (as in `Service.spec.selector`); an empty map selects nothing there."""
    if not labels:
        return Selector(nothing=True)
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in labels.items()))


class FieldTerm(msgspec.Struct, frozen=True):
    """One term of a field selector; `path` is dotted (`metadata.name`)."""

    path: str
    value: str
    equal: bool = True

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Tell whether the field has (or has not) the value; an absent field is the empty text."""
        return (field_text(obj, self.path) == self.value) == self.equal


def parse_fields(text: str, supported: Sequence[str] | None = None) -> tuple[FieldTerm, ...]:
    r"""Parse `a.b=c,d!=e`; `\,` `\=` `\\` stand for themselves inside a value.

    Raises: ValueError for what cannot be read, and for a field not in `supported` (None: all are).
    """
    if len(text) > LENGTH_MAX:
        raise ValueError(f"field selector is longer than {LENGTH_MAX} characters")
    terms = []
    for part in re.findall(r"(?:\\.|[^,\\])+", text):
        match = re.fullmatch(r"\s*([A-Za-z0-9_.]+)\s*(!=|==|=)((?:\\[\\,=]|[^\\,=])*)", part, re.DOTALL)
        if match is None:
            raise ValueError(f"field selector {text!r} cannot be read at {part!r}")
        if supported is not None and match[1] not in supported:
            raise ValueError(f"field label not supported: {match[1]} (supported: {', '.join(supported)})")
        terms.append(FieldTerm(match[1], re.sub(r"\\(.)", r"\1", match[3]), match[2] != "!="))
    return tuple(terms)


def escape_field(value: str) -> str:
    """Return `value` as it must stand in a field selector."""
    return re.sub(r"([\\,=])", r"\\\1", value)


def field_text(obj: Mapping[str, Any], path: str) -> str:
    """Return the field at a dotted path as text: "" where absent, true/false for booleans."""
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _term(match: re.Match[str], text: str) -> Requirement:
    if match["absent"]:
        return Requirement(match["key1"], "DoesNotExist")
    key = match["key2"]
    if match["operator"]:
        operator = _OPERATORS[match["operator"]]
        if operator in ("Gt", "Lt") and not re.fullmatch(r"\d{1,18}", match["value"]):
            raise ValueError(f"label selector {text!r}: {match['operator']} needs a whole number")
        return Requirement(key, operator, (match["value"],))
    if match["set"]:
        values = tuple(value.strip() for value in match["values"].split(","))
        for value in values:
            if not _VALUE_FORM.fullmatch(value):
                raise ValueError(f"label selector {text!r}: {value!r} cannot be a label value")
        return Requirement(key, _OPERATORS[match["set"]], values)
    return Requirement(key, "Exists")


def _compare(value: str, bound: str, operator: str) -> bool:
    try:
        return int(value) > int(bound) if operator == "Gt" else int(value) < int(bound)
    except ValueError:
        return False
