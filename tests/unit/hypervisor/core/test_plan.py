"""Plans for cases that no server would bring about by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.core.action import Create, Delete, Patch
from loft.core.diff import apply_merge_patch
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.pairing import pair
from loft.hypervisor.core.plan import is_all_done, plan
from loft.hypervisor.core.side import Step
from loft.hypervisor.kinds import REGISTRY
from loft.hypervisor.settings import Settings

NAMES = Names("dev", "vc")
CONTEXT = Context(settings=Settings(name="dev", host_namespace="vc"), now=datetime(2026, 1, 1, tzinfo=UTC))
CONFIGMAP = REGISTRY["ConfigMap"]


def host(uid: str = "h1", owner: str = "u1", by: str = "dev", **metadata: Any) -> dict[str, Any]:
    marks = {
        "vcluster.loft.sh/object-uid": owner,
        "vcluster.loft.sh/object-name": "a",
        "vcluster.loft.sh/object-namespace": "default",
    }
    labels = {"vcluster.loft.sh/managed-by": by}
    own = {"name": "a-x-default-x-dev", "namespace": "vc", "uid": uid, "labels": labels, "annotations": marks}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": own | metadata}


def virtual(uid: str = "u1", **metadata: Any) -> dict[str, Any]:
    own = {"name": "a", "namespace": "default", "uid": uid} | metadata
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": own}


@pytest.mark.parametrize("side", [None, virtual(), virtual("u2")])
def test_a_host_object_of_somebody_else_gets_no_step(side: dict[str, Any] | None) -> None:
    assert plan(CONFIGMAP, side, host(by="other"), NAMES, CONTEXT) == []


def test_an_orphan_is_deleted_with_the_uid_that_was_seen() -> None:
    (step,) = plan(CONFIGMAP, None, host(), NAMES, CONTEXT)
    assert step.side == "host" and isinstance(step.action, Delete) and step.action.uid == "h1"


def test_what_is_going_already_is_not_deleted_again() -> None:
    assert plan(CONFIGMAP, None, host(deletionTimestamp="2026-01-01T00:00:00Z"), NAMES, CONTEXT) == []


def test_nothing_is_made_for_an_object_that_is_going() -> None:
    assert plan(CONFIGMAP, virtual(deletionTimestamp="2026-01-01T00:00:00Z"), None, NAMES, CONTEXT) == []


def test_a_host_object_without_an_owner_is_not_taken_over() -> None:
    (step,) = plan(CONFIGMAP, virtual(), host(owner=""), NAMES, CONTEXT)
    assert isinstance(step.action, Delete)


def test_a_new_object_is_created_by_the_name_of_its_namespace() -> None:
    (step,) = plan(CONFIGMAP, virtual(), None, NAMES, CONTEXT)
    assert isinstance(step.action, Create)
    assert step.action.body["metadata"]["name"] == "a-x-default-x-dev"
    assert step.action.body["metadata"]["namespace"] == "vc"


# Pairing


def test_the_host_object_of_this_uid_wins_and_older_ones_are_stale() -> None:
    old, new = host("h1", "u1"), host("h2", "u2", name="elsewhere")
    paired = pair(CONFIGMAP, virtual("u2"), [old, new], [], NAMES)
    assert paired.host is new and paired.stale == [old]


def test_an_older_object_of_our_name_stands_in_the_way() -> None:
    old = host("h1", "u1")
    paired = pair(CONFIGMAP, virtual("u2"), [old], [], NAMES)
    assert paired.host is old and paired.stale == []


def test_an_older_object_of_another_name_does_not_stand_in_the_way() -> None:
    old = host("h1", "u1", name="elsewhere")
    paired = pair(CONFIGMAP, virtual("u2"), [old], [], NAMES)
    assert paired.host is None and paired.stale == [old]


def test_without_a_virtual_object_all_that_was_made_is_stale_but_no_reservation() -> None:
    made, reserved = host(), host("h2", "")
    assert pair(CONFIGMAP, None, [made, reserved], [], NAMES).stale == [made]


def service(uid: str, owner: str, **spec: Any) -> dict[str, Any]:
    made = host(uid, owner) | {"kind": "Service", "spec": spec}
    if not owner:
        marks = {"vcluster.loft.sh/reservation": "r", "vcluster.loft.sh/object-namespace": "default"}
        made["metadata"] |= {"annotations": marks}
    return made


def test_a_reserved_service_wins_over_one_made_when_it_needed_no_address() -> None:
    inside = virtual("u1") | {"kind": "Service", "spec": {"type": "NodePort", "clusterIP": "10.96.0.7"}}
    before = service("h1", "u1", type="ExternalName", externalName="example.com")
    reserved = service("h2", "", type="NodePort", clusterIP="10.96.0.7")
    paired = pair(REGISTRY["Service"], inside, [before], [reserved], NAMES)
    assert paired.host == reserved
    assert paired.stale == [before]


def test_of_two_host_objects_of_this_uid_the_one_that_stays_counts() -> None:
    going = host("h1", deletionTimestamp="2026-01-01T00:00:00Z")
    assert pair(CONFIGMAP, virtual("u1"), [going, host("h2")], [], NAMES).host == host("h2")


# After a write


def patched(**change: Any) -> tuple[list[Step], dict[str, Any], dict[str, Any]]:
    """Return a plan with one patch of the host object, that object before, and as a server leaves it."""
    before = plan(CONFIGMAP, virtual(), None, NAMES, CONTEXT)[0].action
    assert isinstance(before, Create)
    there = before.body | {"metadata": before.body["metadata"] | {"uid": "h1", "resourceVersion": "1"}}
    steps = plan(CONFIGMAP, virtual() | {"data": {"a": "b"}}, there, NAMES, CONTEXT)
    assert isinstance(steps[0].action, Patch)
    after = apply_merge_patch(there, steps[0].action.patch)
    after["metadata"] |= {"resourceVersion": "2", "managedFields": []}
    return steps, there, after | change


def test_nothing_is_left_after_a_patch_that_took_effect_as_it_was() -> None:
    steps, before, after = patched()
    assert is_all_done(steps, before, after)
    assert plan(CONFIGMAP, virtual() | {"data": {"a": "b"}}, after, NAMES, CONTEXT) == []


def test_what_somebody_else_changed_meanwhile_is_looked_at() -> None:
    for change in ({"data": {"a": "c"}}, {"status": {"more": True}}, {"metadata": {"uid": "h1"}}):
        steps, before, after = patched(**change)
        assert not is_all_done(steps, before, after)


def test_an_object_just_created_is_looked_at() -> None:
    steps = plan(CONFIGMAP, virtual(), None, NAMES, CONTEXT)
    assert not is_all_done(steps, None, {"metadata": {}})
