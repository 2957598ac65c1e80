"""What holds for every kind of the host that is shown inside, whatever tenant and host do to its objects."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.hypervisor.world import Server
from loft.core.action import Create, Delete, Patch
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import MANAGED_BY
from loft.hypervisor.core.reflection import REFLECTED, Reflection, is_reflected, plan_reflection
from loft.hypervisor.kinds.classes import REFLECTIONS
from loft.hypervisor.settings import Settings

pytestmark = pytest.mark.law

NAMES = ["gold", "silver", "secret", "system-node-critical"]
OFFERED = ("gold", "silver", "system-node-critical")
SETTINGS = Settings(
    name="dev",
    host_namespace="vc",
    storage_classes=OFFERED,
    ingress_classes=OFFERED,
    priority_classes=OFFERED,
    snapshot_classes=OFFERED,
)
VALUES = st.sampled_from([1, "x", "y", None])


class Inside:
    """Both sides of one reflected kind."""

    def __init__(self, reflection: Reflection) -> None:
        self.reflection = reflection
        self.host, self.virtual = Server("host"), Server("virtual")
        self.context = Context(settings=SETTINGS, now=datetime(2026, 1, 1, tzinfo=UTC))

    def steps(self, name: str) -> list[Any]:
        kind = self.reflection.resource.kind
        sides = self.host.get(kind, "", name), self.virtual.get(kind, "", name)
        before = copy.deepcopy(sides)
        steps = plan_reflection(self.reflection, *sides, Names("dev", "vc"), self.context)
        assert sides == before, "inputs are not changed"
        return steps

    def round(self) -> int:
        count = 0
        for name in NAMES:
            for step in self.steps(name):
                count += 1
                assert step.side == "virtual", "the host is read only"
                match step.action:
                    case Create(_, body, _):
                        self.virtual.create(body)
                    case Patch():
                        self.virtual.patch(step.action)
                    case Delete(resource, namespace, name_, uid, _, _):
                        assert uid
                        self.virtual.delete(resource.kind, namespace, name_, uid)
        return count


def body(draw: Any, reflection: Reflection, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": reflection.resource.kind,
        "metadata": {
            "name": name,
            "annotations": {key: "true" for key in reflection.annotations if draw(st.booleans())},
        },
        "parameters": {"secret": "smuggled"},
    }
    for path in reflection.owned:
        value = draw(VALUES)
        if path[0] != "metadata" and value is not None:
            place = found
            for step in path[:-1]:
                place = place.setdefault(step, {})
            place[path[-1]] = value
    return found


@st.composite
def histories(draw: Any) -> tuple[Reflection, list[tuple[str, str, dict[str, Any]]]]:
    reflection = REFLECTIONS[draw(st.sampled_from(sorted(REFLECTIONS)))]
    acts = st.sampled_from(["host", "host", "inside", "spoil", "drop-host", "drop-inside", "round"])
    history = []
    for _ in range(draw(st.integers(1, 10))):
        name = draw(st.sampled_from(NAMES))
        history.append((draw(acts), name, body(draw, reflection, name)))
    return reflection, history


def play(inside: Inside, history: list[tuple[str, str, dict[str, Any]]]) -> None:
    kind = inside.reflection.resource.kind
    for what, name, wanted in history:
        key = (kind, "", name)
        if what in ("host", "inside"):
            server = inside.host if what == "host" else inside.virtual
            have = server.objects.get(key)
            if have is None:
                server.create(wanted)
            elif what == "host":
                server.objects[key] = wanted | {"metadata": wanted["metadata"] | {"uid": have["metadata"]["uid"]}}
        elif what == "spoil" and key in inside.virtual.objects:
            have = inside.virtual.objects[key]
            spoilt = {"metadata": have["metadata"] | {"annotations": wanted["metadata"]["annotations"]}}
            inside.virtual.objects[key] = have | {k: v for k, v in wanted.items() if k != "metadata"} | spoilt
        elif what == "drop-host":
            inside.host.objects.pop(key, None)
        elif what == "drop-inside":
            inside.virtual.objects.pop(key, None)
        elif what == "round":
            inside.round()


def test_one_kind_is_shown_or_synced_by_one_key() -> None:
    assert all(key == reflection.key for key, reflection in REFLECTIONS.items())


@settings(max_examples=150, deadline=None)
@given(histories())
def test_the_inside_shows_what_is_offered_and_rests(case: tuple[Reflection, list[Any]]) -> None:
    reflection, history = case
    inside = Inside(reflection)
    play(inside, history)
    strangers = copy.deepcopy([item for item in inside.virtual.objects.values() if not is_reflected(item)])
    for _ in range(3):
        inside.round()
    writes = inside.virtual.writes
    assert inside.round() == 0 and inside.virtual.writes == writes
    foreign = {item["metadata"]["name"] for item in strangers}
    assert [item for item in inside.virtual.objects.values() if not is_reflected(item)] == strangers
    for name in NAMES:
        host = inside.host.get(reflection.resource.kind, "", name)
        shown = inside.virtual.get(reflection.resource.kind, "", name)
        if name in foreign:
            continue
        assert (shown is not None) == (host is not None and name in ("gold", "silver"))
        if shown is not None and host is not None:
            assert shown["metadata"]["labels"] == {REFLECTED: "true"}
            for path in reflection.owned:
                assert _at(shown, path) == _at(host, path)


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        obj = (obj or {}).get(step)
    return obj


@settings(max_examples=50, deadline=None)
@given(histories())
def test_what_nobody_lists_stays_outside(case: tuple[Reflection, list[Any]]) -> None:
    reflection, history = case
    inside = Inside(reflection)
    play(inside, [act for act in history if act[0] in ("host", "round", "drop-host", "drop-inside")])
    inside.round()
    assert "smuggled" not in str(inside.virtual.objects)


def test_what_an_earlier_version_showed_is_taken_over() -> None:
    inside = Inside(REFLECTIONS["StorageClass"])
    metadata = {"name": "gold", "labels": {"loft.sh/kept": "true"}}
    inside.virtual.create({"kind": "StorageClass", "metadata": metadata, "provisioner": "x"})
    inside.host.create({"kind": "StorageClass", "metadata": {"name": "gold"}, "provisioner": "x"})
    assert inside.round() == 1 and inside.round() == 0
    shown = inside.virtual.get("StorageClass", "", "gold")
    assert shown is not None and REFLECTED in shown["metadata"]["labels"]
    inside.host.objects.clear()
    inside.round()
    assert not inside.virtual.objects


def test_what_a_virtual_cluster_made_on_the_host_is_not_shown_to_any() -> None:
    inside = Inside(REFLECTIONS["StorageClass"])
    metadata = {"name": "gold", "labels": {MANAGED_BY: "another"}}
    inside.host.create({"kind": "StorageClass", "metadata": metadata, "provisioner": "x"})
    assert inside.round() == 0
