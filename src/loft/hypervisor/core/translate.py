"""One walk along a rule tree: an object in, the part of it that may cross out. The input is never changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import (
    ABSENT,
    AnnotationRules,
    At,
    Compute,
    Copy,
    Fixed,
    Guard,
    Ignore,
    Labels,
    LabelSelector,
    Node,
    Ref,
    Refusal,
    Refused,
    Rule,
    Scope,
)
from loft.hypervisor.core.names import host_labels, label_key
from loft.hypervisor.core.objects import Object

UNLISTED = "this field is not synced to the host"
OWN_SECRET = "this Secret is there already and your own: name another one, or remove it"
ITEMS_MAX = 10_000
"""Longest list that is walked; API servers accept objects up to about 1.5 MiB."""


def walk(node: Node, source: Any, scope: Scope, path: str = "") -> Any:
    """Return what of `source` crosses by the tree, ABSENT when nothing does; refusals go to the scope."""
    if node.items is not None:
        return _walk_list(node.items, source, scope, path)
    if not isinstance(source, dict):
        refuse(scope, path, "must be an object")
        return ABSENT
    result: dict[str, Any] = {}
    for step, value in source.items():
        if value is None:
            continue
        child = node.children.get(step)
        if child is None:
            if scope.strict:
                refuse(scope, _join(path, step), UNLISTED)
            continue
        crossed = _visit(child, value, _at(path, step, source, scope))
        if crossed is not ABSENT:
            result[step] = crossed
    for step in node.always:
        if source.get(step) is None:
            crossed = _visit(node.children[step], ABSENT, _at(path, step, source, scope))
            if crossed is not ABSENT:
                result[step] = crossed
    return result


def _at(path: str, step: str, parent: Object, scope: Scope) -> At:
    return At(_join(path, step), parent, scope)


def _visit(node: Node, value: Any, at: At) -> Any:
    if node.rule is not None:
        return _cross(node.rule, value, at)
    if value is ABSENT:
        return walk(node, {}, at.scope, at.path) or ABSENT
    return walk(node, value, at.scope, at.path)


def _walk_list(node: Node, source: Any, scope: Scope, path: str) -> Any:
    if not isinstance(source, list) or len(source) > ITEMS_MAX:
        refuse(scope, path, f"must be a list of at most {ITEMS_MAX} items")
        return ABSENT
    holder = {"items": source}
    crossed = [
        _cross(node.rule, item, At(f"{path}[{index}]", holder, scope))
        if node.rule is not None
        else walk(node, item, scope, f"{path}[{index}]")
        for index, item in enumerate(source)
    ]
    return [item for item in crossed if item is not ABSENT]


def _cross(rule: Rule, value: Any, at: At) -> Any:
    match rule:
        case Copy():
            return flat(value, at)
        case Ignore():
            return ABSENT
        case Fixed(_, fixed):
            return fixed
        case Ref():
            if rule.issued and value in at.scope.context.own_secrets:
                refuse(at.scope, at.path, OWN_SECRET)
            return referred(rule.kind, value, at.scope) if value else ABSENT
        case Guard(_, allowed, why, level):
            is_lifted = bool(level) and at.scope.context.settings.pod_security == level
            return _guard(value, at, is_lifted or allowed(value), why)
        case Labels():
            return _fenced(value, at.scope) if value else ABSENT
        case LabelSelector():
            return label_selector(value, at.scope, at.path)
        case Compute(_, function):
            try:
                return function(value, at)
            except Refused as refused:
                refuse(at.scope, at.path + refused.field, refused.rule)
                return ABSENT


def referred(kind: str, name: str, scope: Scope) -> str:
    """Return the host name of another object of the same virtual namespace."""
    return scope.context.host_names.get(f"{kind}/{name}") or scope.names.host(scope.namespace, name)


def references(node: Node, source: Any) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of what an object names by Ref rules with a kind."""
    if isinstance(node.rule, Ref):
        if node.rule.kind and isinstance(source, str) and source:
            yield node.rule.kind, source
    elif node.items is not None:
        for item in source if isinstance(source, list) else ():
            yield from references(node.items, item)
    elif isinstance(source, dict):
        for step, child in node.children.items():
            yield from references(child, source.get(step))


def cross_annotations(rules: AnnotationRules, virtual: Object, scope: Scope) -> dict[str, str]:
    """Return the tenant's annotations that cross; those with power over the host are refused."""
    given = objects.annotations(virtual)
    crossed = {}
    for key, value in sorted(given.items()):
        at = At(f"metadata.annotations[{key}]", given, scope)
        if key in rules.crossing:
            try:
                result = rules.crossing[key](value, at)
            except Refused as refused:
                refuse(scope, at.path, refused.rule)
                continue
            if result is not ABSENT:
                crossed[key] = result
        elif rules.refused.search(key):
            refuse(scope, at.path, rules.rule)
    return crossed


def _guard(value: Any, at: At, allowed: bool, why: str) -> Any:
    if allowed:
        return flat(value, at)
    refuse(at.scope, at.path, why)
    return ABSENT


def flat(value: Any, at: At) -> Any:
    """Let a scalar, or a flat list or map of scalars, cross; what is deeper nobody has listed."""
    if isinstance(value, dict):
        deep = [step for step, item in value.items() if isinstance(item, dict | list)]
    elif isinstance(value, list):
        deep = [str(index) for index, item in enumerate(value) if isinstance(item, dict | list)]
    else:
        return value
    if not deep:
        return value
    if at.scope.strict:
        refuse(at.scope, _join(at.path, deep[0]), UNLISTED)
    return ABSENT


def _fenced(selector: dict[str, str], scope: Scope) -> dict[str, str]:
    return host_labels(selector) | scope.names.selector(scope.namespace)


def label_selector(value: Any, scope: Scope, path: str) -> Any:
    """Translate a LabelSelector over Pods of one virtual namespace; the host's selector sees that one only."""
    if value is ABSENT:
        return ABSENT
    unknown = [step for step in value if step not in ("matchLabels", "matchExpressions")]
    for step in unknown:
        refuse(scope, _join(path, step), UNLISTED)
    result: Object = {"matchLabels": _fenced(value.get("matchLabels") or {}, scope)}
    expressions = [
        {"key": label_key(item["key"]), "operator": item["operator"]}
        | ({"values": item["values"]} if item.get("values") else {})
        for item in value.get("matchExpressions") or ()
    ]
    if expressions:
        result["matchExpressions"] = expressions
    return result


def refuse(scope: Scope, path: str, rule: str) -> None:
    """Record a refusal."""
    scope.refusals.append(Refusal(path, rule))


def _join(path: str, step: str) -> str:
    return f"{path}.{step}" if path else step
