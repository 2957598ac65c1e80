"""One walk lets listed fields cross, at any depth, and says what does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import (
    ABSENT,
    At,
    Compute,
    Copy,
    Fixed,
    Guard,
    Ignore,
    Labels,
    LabelSelector,
    Ref,
    Refused,
    Rule,
    Scope,
    compile_rules,
)
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.translate import walk
from loft.hypervisor.settings import Settings


def cross(source: Any, *rules: Rule, strict: bool = True) -> tuple[Any, list[str]]:
    settings = Settings(name="dev", host_namespace="vc")
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC))
    scope = Scope(Names("dev", "vc"), context, source, "default", strict=strict)
    return walk(compile_rules(rules), source, scope), [refusal.field for refusal in scope.refusals]


def never(value: Any) -> bool:
    return False


def shout(value: Any, at: At) -> Any:
    if value == "no":
        raise Refused(".deep", "because")
    return ABSENT if value is ABSENT else value.upper()


@pytest.mark.parametrize(
    ("source", "rule", "crossed", "refused"),
    [
        ({"a": 1, "b": 2}, Copy("a"), {"a": 1}, ["b"]),
        ({"a": {"b": {"c": 1}}}, Copy("a.b.c"), {"a": {"b": {"c": 1}}}, []),
        ({"a": {"b": 1, "new": 2}}, Copy("a.b"), {"a": {"b": 1}}, ["a.new"]),
        ({"a": {"x": "1", "y": "2"}}, Copy("a"), {"a": {"x": "1", "y": "2"}}, []),
        ({"a": {"x": {"deep": 1}}}, Copy("a"), {}, ["a.x"]),
        ({"a": [1, [2]]}, Copy("a"), {}, ["a.1"]),
        ({"a": [{"b": 1}, {"c": 2}]}, Copy("a[*].b"), {"a": [{"b": 1}, {}]}, ["a[1].c"]),
        ({"a": "not a list"}, Copy("a[*].b"), {}, ["a"]),
        ({"a": [0] * 10_001}, Copy("a[*]"), {}, ["a"]),
        ({"a": "not an object"}, Copy("a.b"), {}, ["a"]),
        ({"a": None}, Copy("b"), {}, []),
        ({"a": {}}, Copy("a.b"), {"a": {}}, []),
        ({"a": 1}, Ignore("a"), {}, []),
        ({"a": 1}, Fixed("a", 2), {"a": 2}, []),
        ({}, Fixed("a.b", 2), {"a": {"b": 2}}, []),
        ({"a": "web"}, Ref("a"), {"a": "web-x-default-x-dev"}, []),
        ({"a": ""}, Ref("a"), {}, []),
        ({"a": 0}, Guard("a", lambda value: not value, "why"), {"a": 0}, []),
        ({"a": 1}, Guard("a", never, "why"), {}, ["a"]),
        ({"a": "x"}, Compute("a", shout), {"a": "X"}, []),
        ({"a": "no"}, Compute("a", shout), {}, ["a.deep"]),
        ({}, Compute("a", shout), {}, []),
        ({"a": {}}, Labels("a"), {}, []),
    ],
)
def test_one_rule(source: Any, rule: Rule, crossed: Any, refused: list[str]) -> None:
    assert cross(source, rule) == (crossed, refused)


def test_towards_the_tenant_unlisted_fields_are_left_out_in_silence() -> None:
    assert cross({"a": 1, "b": {"c": 1}}, Copy("a"), strict=False) == ({"a": 1}, [])


def test_selectors_see_one_virtual_namespace_only() -> None:
    fence = {"vcluster.loft.sh/managed-by": "dev", "vcluster.loft.sh/namespace": "default"}
    source = {"s": {"app": "web"}, "l": {"matchLabels": {"vcluster.loft.sh/namespace": "other"}}}
    crossed, refused = cross(source, Labels("s"), LabelSelector("l"))
    assert crossed["s"] == {"label.vcluster.loft.sh/app": "web"} | fence
    assert crossed["l"]["matchLabels"].items() >= fence.items()
    assert refused == []


def test_unknown_parts_of_a_label_selector_are_refused() -> None:
    assert cross({"l": {"matchFields": []}}, LabelSelector("l"))[1] == ["l.matchFields"]
