"""A Pod that names its node itself and wants ports that are taken there ends as it would at a kubelet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Pair
from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds.pod_lifecycle import lifecycle
from loft.hypervisor.kinds.pod_ports import has_taken_ports
from loft.hypervisor.settings import Settings

RUNS = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}


def pod(uid: str, status: dict[str, Any] | None = None, **port: Any) -> dict[str, Any]:
    spec = {"nodeName": "node-a", "containers": [{"name": "c", "ports": [{"containerPort": 80} | port]}]}
    return {"metadata": {"name": uid, "namespace": "shop", "uid": uid}, "spec": spec, "status": status or {}}


@pytest.mark.parametrize(
    ("holder", "taken"),
    [
        (pod("a", RUNS, hostPort=80), True),
        (pod("a", RUNS, hostPort=80, hostIP="127.0.0.1"), True),
        (pod("a", RUNS, hostPort=81), False),
        (pod("a", RUNS, hostPort=80, protocol="UDP"), False),
        (pod("a", RUNS), False),
        (pod("a", {"phase": "Pending"}, hostPort=80), False),
        (pod("a", RUNS | {"phase": "Succeeded"}, hostPort=80), False),
        (pod("b", RUNS, hostPort=80), False),
    ],
)
def test_which_ports_are_taken(holder: dict[str, Any], taken: bool) -> None:
    assert has_taken_ports(pod("b", hostPort=80), [holder]) is taken


def test_two_addresses_of_a_node_are_two_ports() -> None:
    assert not has_taken_ports(pod("b", hostPort=80, hostIP="127.0.0.1"), [pod("a", RUNS, hostPort=80, hostIP="::1")])


def test_a_pod_that_runs_is_let_be() -> None:
    assert not has_taken_ports(pod("b", RUNS, hostPort=80), [pod("a", RUNS, hostPort=80)])


def test_the_pod_fails_once() -> None:
    context = Context(
        settings=Settings(name="dev", host_namespace="vc"), now=datetime(2026, 1, 1, tzinfo=UTC), ports_taken=True
    )
    virtual = pod("b", hostPort=80)
    (step,) = lifecycle(Pair(virtual, None, Names("dev", "vc"), context)) or []
    status = step.action.patch["status"]  # type: ignore[union-attr]
    assert step.side == "virtual" and (status["phase"], status["reason"]) == ("Failed", "NodePorts")
    assert lifecycle(Pair(virtual | {"status": status}, None, Names("dev", "vc"), context)) == []
