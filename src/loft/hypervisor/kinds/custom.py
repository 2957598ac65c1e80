"""Custom resources by configuration: kinds made of what an administrator wrote, with the guarantees of all others.

A kind of Kubernetes itself cannot be configured: for those the files of this folder say what is safe. Nor can one of
this platform.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from loft.core.resource import Resource
from loft.hypervisor.core.mapping import (
    Compute,
    Copy,
    Fixed,
    Guard,
    Ignore,
    Labels,
    LabelSelector,
    Mapping,
    Ref,
    Rule,
    expand,
)
from loft.hypervisor.core.reflection import Reflection
from loft.hypervisor.custom import CustomResource, CustomRule
from loft.hypervisor.kinds.pod_status import text

NATIVE_GROUPS = frozenset(
    {
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "metrics.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "snapshot.storage.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)
"""Groups of Kubernetes that have a dot in their names, and the one that has a file here."""
OURS = "loft.sh"
RULES_MAX = 500
VALUE_MAX = 4096
"""Longest text that a pattern is tried on."""

_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_VERSION, _PLURAL, _KIND = re.compile(r"v[0-9a-z]+"), re.compile(r"[a-z][a-z0-9-]*"), re.compile(r"[A-Z][A-Za-z0-9]*")
_STEP = r"[A-Za-z0-9_$-]+(\[\*\])?"
_PATH = re.compile(rf"{_STEP}(\.{_STEP})*")
_VERBS = ("copy", "ref", "issued", "labels", "label_selector", "fixed", "guard", "ignore", "text")
_OPTIONS = {"ref": {"kind"}, "fixed": {"value"}, "guard": {"one_of", "pattern", "why"}}
_NEVER = frozenset({"apiVersion", "kind", "metadata"})


class CustomResourceError(ValueError):
    """A custom resource cannot be synced as it is written; the message says where and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kinds:
    """What a configuration adds to the synced kinds, by key."""

    mappings: dict[str, Mapping]
    reflections: dict[str, Reflection]


def custom_kinds(resources: Sequence[CustomResource], known: Sequence[str]) -> Kinds:
    """Return the kinds of a configuration.

    Args:
        resources: as written.
        known: keys of the kinds that are synced anyway, to which references may point.
    Raises: CustomResourceError.
    """
    keys = [_key(resource) for resource in resources]
    for key in keys:
        if keys.count(key) > 1:
            raise CustomResourceError(f"{key} is there twice")
    made = Kinds({}, {})
    for resource in resources:
        _check_names(resource)
        if resource.direction == "toHost":
            made.mappings[_key(resource)] = _mapping(resource, {*known, *keys})
        else:
            made.reflections[_key(resource)] = _reflection(resource)
    return made


def _key(resource: CustomResource) -> str:
    return f"{resource.kind}.{resource.group}"


def _check_names(resource: CustomResource) -> None:
    key = _key(resource)
    for what, text_, form in (
        ("group", resource.group, _GROUP),
        ("version", resource.version, _VERSION),
        ("plural", resource.plural, _PLURAL),
        ("kind", resource.kind, _KIND),
    ):
        if not form.fullmatch(text_) or len(text_) > 253:
            raise CustomResourceError(f"{key}: {what} {text_[:80]!r} must have the form {form.pattern}")
    if resource.group in NATIVE_GROUPS:
        raise CustomResourceError(f"{key}: kinds of Kubernetes itself are synced as built in, and no other way")
    if resource.group == OURS or resource.group.endswith("." + OURS):
        raise CustomResourceError(f"{key}: kinds of the platform are not for tenants")


def _mapping(resource: CustomResource, known: set[str]) -> Mapping:
    key = _key(resource)
    if resource.names != ("*",):
        raise CustomResourceError(f"{key}: names are for direction fromHost")
    if not resource.rules:
        raise CustomResourceError(f"{key}: without rules nothing of it would cross")
    forward = _rules(resource.rules, f"{key}: rules", lambda step: step != "status")
    if any(isinstance(rule, Compute) for rule in forward):
        raise CustomResourceError(f"{key}: rules: text is for what comes back")
    back = _rules(resource.status, f"{key}: status", lambda step: step == "status")
    for rule in forward:
        if isinstance(rule, Ref) and rule.kind and rule.kind not in known:
            names = ", ".join(sorted(known))
            raise CustomResourceError(f"{key}: ref {rule.path}: kind {rule.kind} is not synced; known are {names}")
    for rule in back:
        if not isinstance(rule, Copy | Compute):
            raise CustomResourceError(f"{key}: status: only copy and text can bring something back")
    try:
        return Mapping(
            resource=_resource(resource, namespaced=True),
            name=key,
            to_host=forward,
            to_virtual=back,
            status_subresource=resource.status_subresource,
            gated=True,
            whole=True,
        )
    except ValueError as error:
        raise CustomResourceError(f"{key}: {error}") from error


def _reflection(resource: CustomResource) -> Reflection:
    key = _key(resource)
    if resource.status:
        raise CustomResourceError(f"{key}: what comes from the host is named in rules, its status too")
    rules = _rules(resource.rules, f"{key}: rules", lambda step: True)
    if not all(isinstance(rule, Copy | Fixed) for rule in rules):
        raise CustomResourceError(f"{key}: from the host only copy and fixed are possible")
    names = resource.names
    try:
        return Reflection(
            resource=_resource(resource, namespaced=False),
            rules=rules,
            allowed=lambda settings: names,
            status_subresource=resource.status_subresource,
            name=key,
        )
    except ValueError as error:
        raise CustomResourceError(f"{key}: {error}") from error


def _resource(resource: CustomResource, *, namespaced: bool) -> Resource:
    return Resource(resource.group, resource.version, resource.plural, resource.kind, namespaced)


def _rules(written: Sequence[CustomRule], where: str, may_begin: Callable[[str], bool]) -> tuple[Rule, ...]:
    if len(written) > RULES_MAX:
        raise CustomResourceError(f"{where}: more than {RULES_MAX} rules")
    made = []
    for number, rule in enumerate(written, 1):
        place = f"{where} {number}"
        verb, path = _verb(rule, place)
        for each in expand(path):
            first = each.split(".")[0].removesuffix("[*]")
            if not _PATH.fullmatch(each):
                raise CustomResourceError(f"{place}: {path[:80]!r} is no path, such as spec.ports[*].{{name,port}}")
            if first in _NEVER or not may_begin(first):
                raise CustomResourceError(f"{place}: {each} cannot be synced here")
        made.append(_MAKE[verb](rule, path, place))
    return tuple(made)


def _verb(rule: CustomRule, place: str) -> tuple[str, str]:
    given = {name: getattr(rule, name) for name in _VERBS if getattr(rule, name)}
    if len(given) != 1:
        words = ", ".join(_VERBS).replace("label_selector", "labelSelector")
        raise CustomResourceError(f"{place}: give exactly one of {words}")
    [(verb, path)] = given.items()
    for option in ("kind", "value", "one_of", "pattern", "why"):
        value = getattr(rule, option)
        if value not in ("", (), msgspec.UNSET) and option not in _OPTIONS.get(verb, ()):
            raise CustomResourceError(f"{place}: {option.replace('_of', 'Of')} means nothing for {verb}")
    return verb, path


def _fixed(rule: CustomRule, path: str, place: str) -> Rule:
    if rule.value is msgspec.UNSET:
        raise CustomResourceError(f"{place}: fixed needs a value")
    return Fixed(path, rule.value)


def _guard(rule: CustomRule, path: str, place: str) -> Rule:
    if bool(rule.one_of) == bool(rule.pattern):
        raise CustomResourceError(f"{place}: guard needs either oneOf or pattern")
    try:
        pattern = re.compile(rule.pattern)
    except re.error as error:
        raise CustomResourceError(f"{place}: pattern {rule.pattern[:80]!r} cannot be read: {error}") from error
    allowed, wanted = rule.one_of, f"one of {', '.join(map(str, rule.one_of))}" if rule.one_of else rule.pattern

    def is_allowed(value: Any) -> bool:
        if allowed:
            return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in allowed)
        return isinstance(value, str) and len(value) <= VALUE_MAX and pattern.fullmatch(value) is not None

    return Guard(path, is_allowed, rule.why or f"must be {wanted}")


_MAKE: dict[str, Callable[[CustomRule, str, str], Rule]] = {
    "copy": lambda rule, path, place: Copy(path),
    "ref": lambda rule, path, place: Ref(path, rule.kind),
    "issued": lambda rule, path, place: Ref(path, "Secret", issued=True),
    "labels": lambda rule, path, place: Labels(path),
    "label_selector": lambda rule, path, place: LabelSelector(path),
    "fixed": _fixed,
    "guard": _guard,
    "ignore": lambda rule, path, place: Ignore(path),
    "text": lambda rule, path, place: Compute(path, text),
}
