"""A Pod ending on one side ends on the other, once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.core.action import Delete
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Pair
from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds.pod_lifecycle import lifecycle
from loft.hypervisor.settings import Settings

GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
BOUND = {"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]}


def pair(virtual: dict[str, Any], host: dict[str, Any] | None, dns_ip: str = "10.0.0.10", **settings_: Any) -> Pair:
    settings = Settings(name="dev", host_namespace="vc", **settings_)
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), dns_ip=dns_ip)
    return Pair(virtual, host, Names("dev", "vc"), context)


def pod(uid: str, status: dict[str, Any] | None = None, node: str = "node-a", **metadata: Any) -> dict[str, Any]:
    own = {"name": "web", "namespace": "default", "uid": uid} | metadata
    spec = {"containers": [], "nodeName": node} if node else {"containers": []}
    return {"metadata": own, "spec": spec, "status": status or {}}


def deletes(steps: list[Any] | None) -> list[tuple[str, str, int | None]]:
    return [(s.side, s.action.uid, s.action.grace_s) for s in steps or () if isinstance(s.action, Delete)]


def test_a_running_pair_takes_the_ordinary_course() -> None:
    assert lifecycle(pair(pod("u1", BOUND), pod("h1"))) is None
    assert lifecycle(pair(pod("u1", node=""), None)) is None


def test_a_shorter_grace_is_passed_on_and_a_longer_one_is_not() -> None:
    host = pod("h1", deletionGracePeriodSeconds=30, **GOING)
    shorter = lifecycle(pair(pod("u1", BOUND, deletionGracePeriodSeconds=5, **GOING), host))
    longer = lifecycle(pair(pod("u1", BOUND, deletionGracePeriodSeconds=30, **GOING), host))
    assert deletes(shorter) == [("host", "h1", 5)]
    assert deletes(longer) == []


def test_the_end_comes_once_also_when_finalizers_hold_the_object() -> None:
    ending = pod("u1", BOUND, deletionGracePeriodSeconds=30, **GOING)
    assert deletes(lifecycle(pair(ending, None))) == [("virtual", "u1", 0)]
    held = pod("u1", BOUND, deletionGracePeriodSeconds=0, finalizers=["example.org/hold"], **GOING)
    assert lifecycle(pair(held, None)) == []


def test_with_a_scheduler_inside_a_pod_waits_for_its_node_and_is_gone_once_it_has_run() -> None:
    waiting, bound = pod("u1", node=""), pod("u1", BOUND)
    assert lifecycle(pair(waiting, None, scheduler=True)) == []
    assert lifecycle(pair(bound, None, scheduler=True)) is None
    ran = pod("u1", BOUND | {"startTime": "2026-01-01T00:00:00Z"})
    assert deletes(lifecycle(pair(ran, None, scheduler=True))) == [("virtual", "u1", 0)]


def test_a_bound_pod_without_a_host_pod_is_gone() -> None:
    assert deletes(lifecycle(pair(pod("u1", BOUND), None))) == [("virtual", "u1", 0)]


def test_a_node_name_from_the_tenant_alone_does_not_mean_that_it_ran() -> None:
    assert lifecycle(pair(pod("u1", {"phase": "Pending"}), None)) is None


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_is_never_started_again(phase: str) -> None:
    assert lifecycle(pair(pod("u1", BOUND | {"phase": phase}), None)) == []


def test_a_pod_waits_for_the_name_server_it_asks() -> None:
    waiting = pod("u1", node="")
    assert lifecycle(pair(waiting, None, dns_ip="")) == []
    waiting["spec"]["dnsPolicy"] = "Default"
    assert lifecycle(pair(waiting, None, dns_ip="")) is None
