"""Host Events on virtual objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.core.action import Apply
from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds.event import is_old, is_said_inside, plan_event, relevant
from loft.hypervisor.settings import Settings

HOST = {"metadata": {"name": "web-x-default-x-dev", "namespace": "vc", "uid": "h1"}}
VIRTUAL = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default", "uid": "u1"}}


def told(event: dict[str, Any]) -> dict[str, Any]:
    base = {"metadata": {"name": "e", "namespace": "vc", "uid": "e1"}, "involvedObject": {"uid": "h1"}}
    (step,) = plan_event(base | event, HOST, VIRTUAL, Names("dev", "vc"))
    assert step.side == "virtual" and isinstance(step.action, Apply)
    return step.action.body


def test_an_event_is_told_on_the_virtual_object_without_host_fields() -> None:
    body = told(
        {
            "message": "Created pod vc/web-x-default-x-dev",
            "reason": "Created",
            "count": 2,
            "source": {"component": "kubelet", "host": "node-a"},
            "involvedObject": {"uid": "h1", "fieldPath": "spec.containers{main}", "resourceVersion": "9"},
            "related": {"kind": "Pod", "name": "other-tenant"},
        }
    )
    assert body["message"] == "Created pod default/web"
    assert body["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "default",
        "name": "web",
        "uid": "u1",
        "fieldPath": "spec.containers{main}",
    }
    assert body["source"] == {"component": "kubelet"} and "related" not in body
    assert body["metadata"]["namespace"] == "default"


def test_a_repeated_event_has_the_same_name_and_another_one_has_not() -> None:
    first, again = told({"count": 1}), told({"count": 2})
    assert first["metadata"]["name"] == again["metadata"]["name"]
    assert first["metadata"]["name"] != told({"metadata": {"name": "e", "uid": "e2"}})["metadata"]["name"]


def test_an_event_of_the_newer_kind_names_its_reporter() -> None:
    body = told({"eventTime": "2026-01-01T00:00:00Z", "reportingComponent": "default-scheduler", "action": "Binding"})
    assert body["reportingComponent"] == "default-scheduler" and body["reportingInstance"]


@pytest.mark.parametrize(
    ("seen", "old"), [("2026-01-01T09:59:00Z", False), ("2026-01-01T08:00:00Z", True), ("", False), ("x", False)]
)
def test_old_events_are_not_told_again(seen: str, old: bool) -> None:
    assert is_old({"lastTimestamp": seen}, datetime(2026, 1, 1, 10, tzinfo=UTC)) is old


def test_the_cache_keeps_what_is_used() -> None:
    event = {"metadata": {"name": "e", "managedFields": [1]}, "message": "m", "related": {"name": "x"}, "count": 1}
    assert "managedFields" not in str(relevant(event)) and "related" not in relevant(event)


def test_that_a_pod_is_placed_is_said_once() -> None:
    scheduled, pulled = {"reason": "Scheduled"}, {"reason": "Pulled"}
    settings = Settings(name="dev", host_namespace="vc", scheduler=True)
    assert is_said_inside(scheduled, settings)
    assert not is_said_inside(pulled, settings)
    assert not is_said_inside(scheduled, Settings(name="dev", host_namespace="vc"))
