from __future__ import annotations

import pytest

from loft.core.selector import (
    escape_field,
    from_label_selector,
    from_labels,
    parse_fields,
    parse_labels,
)

LABELS = {"app": "web", "tier": "front", "loft.sh/space": "true", "n": "7"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        (" app = web , tier=front ", True),
        ("app=api", False),
        ("app=", False),
        ("app!=api", True),
        ("app!=web", False),
        ("none!=web", True),
        ("app in (web,api)", True),
        ("app in ( api )", False),
        ("app notin (api, db)", True),
        ("none notin (a)", True),
        ("loft.sh/space", True),
        ("!loft.sh/space", False),
        ("!none", True),
        ("none", False),
        ("n>6,n<8", True),
        ("n>7", False),
        ("app>1", False),
        ("app in (web),!none,n", True),
        ("in", False),
        ("in in (a)", False),
    ],
)
def test_label_selectors(text: str, selected: bool) -> None:
    selector = parse_labels(text)
    assert selector.matches(LABELS) is selected
    assert parse_labels(str(selector)).matches(LABELS) is selected, "the printed form means the same"


@pytest.mark.parametrize(
    "text",
    [
        "app=web,",
        ",app",
        "app in web",
        "app in (a",
        "a b",
        "app=a b",
        "=web",
        "app=we/b",
        "n>x",
        "a" * 300,
        "app in (a b)",
    ],
)
def test_label_selectors_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="label selector"):
        parse_labels(text)


def test_an_endless_selector_is_refused_quickly() -> None:
    with pytest.raises(ValueError, match="longer"):
        parse_labels("a," * 20_000)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "x": "y"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
    ],
)
def test_label_selector_objects(selector: dict[str, object] | None, selected: bool) -> None:
    assert from_label_selector(selector).matches(LABELS) is selected


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "Like"},
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["b"]},
    ],
)
def test_label_selector_objects_the_api_server_refuses(expression: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="operator"):
        from_label_selector({"matchExpressions": [expression]})


def test_plain_maps_select_nothing_when_empty() -> None:
    assert from_labels({"app": "web"}).matches(LABELS)
    assert not from_labels({}).matches(LABELS)
    assert not from_labels(None).matches({})


POD = {"metadata": {"name": "a,b=c", "namespace": "x"}, "spec": {"nodeName": "n1", "hostNetwork": True}}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("metadata.namespace=x", True),
        ("metadata.namespace==x,spec.nodeName=n1", True),
        ("metadata.namespace!=x", False),
        ("status.phase=", True),
        ("status.phase!=Running", True),
        ("spec.hostNetwork=true", True),
        (rf"metadata.name={escape_field('a,b=c')}", True),
    ],
)
def test_field_selectors(text: str, selected: bool) -> None:
    assert all(term.matches(POD) for term in parse_fields(text)) is selected


@pytest.mark.parametrize("text", ["a", "=b", "a=b=c", "a>b", "a b=c", "a=b,c"])
def test_field_selectors_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="field selector"):
        parse_fields(text)


def test_fields_that_are_not_supported_are_named() -> None:
    with pytest.raises(ValueError, match=r"not supported: spec.x \(supported: metadata.name\)"):
        parse_fields("spec.x=1", ["metadata.name"])
