"""What holds for a Pod whatever happens to it while it runs: debuggers, gates, sizes, force, a kubelet's reports."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laws.hypervisor.world import World
from loft.hypervisor.core import objects

pytestmark = pytest.mark.law

GATE = "example.org/open"
KEY = ("Pod", "one", "web")
SPEC: dict[str, Any] = {
    "containers": [{"name": "main", "image": "demo", "resources": {"requests": {"cpu": "1"}}}],
    "readinessGates": [{"conditionType": GATE}],
}

ACT = st.one_of(
    st.sampled_from(["schedule", "force", "label"]),
    st.sampled_from(["pending resize", "resize done", "report"]),
    st.tuples(st.just("debug"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("gate"), st.sampled_from(["True", "False", ""])),
    st.tuples(st.just("resize"), st.sampled_from(["1", "2", "500m"])),
)


def create(world: World) -> None:
    metadata = {"name": "web", "namespace": "one", "generation": 1, "labels": {"app": "web"}}
    world.virtual.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(SPEC)})


def change(pod: dict[str, Any], **fields: Any) -> None:
    pod["spec"] = pod["spec"] | fields
    pod["metadata"] = pod["metadata"] | {"generation": pod["metadata"].get("generation", 1) + 1}


def put_condition(pod: dict[str, Any], kind: str, status: str) -> None:
    others = [item for item in objects.status(pod).get("conditions") or () if item["type"] != kind]
    new = [{"type": kind, "status": status}] if status else []
    pod["status"] = objects.status(pod) | {"conditions": others + new}


def act(world: World, what: Any) -> None:
    """Do what the tenant does; the rest is the host's."""
    pod = world.virtual.objects[KEY]
    match what:
        case "force":
            world.virtual.delete(*KEY, grace_s=0)
            create(world)
        case "label":
            pod["metadata"] = pod["metadata"] | {"labels": {"app": "other"}}
        case ("debug", number, strong):
            power = {"securityContext": {"privileged": True}} if strong else {}
            have = pod["spec"].get("ephemeralContainers", [])
            new = {"name": f"d{number}-{len(have)}", "image": "demo"} | power
            change(pod, ephemeralContainers=[*have, new])
        case ("gate", status):
            put_condition(pod, GATE, status)
        case ("resize", cpu):
            change(pod, containers=[SPEC["containers"][0] | {"resources": {"requests": {"cpu": cpu}}}])
        case _:
            for host in filter(world.is_ours, world.host.list("Pod")):
                act_on_host(host, what)


def act_on_host(host: dict[str, Any], what: str) -> None:
    match what:
        case "schedule":
            host["spec"].setdefault("nodeName", "node-a")
            host["metadata"]["generation"] = 1
        case "pending resize" | "resize done":
            put_condition(host, "PodResizePending", "True" if what == "pending resize" else "")
        case "report":
            put_condition(host, "Ready", "True")
            generation = host["metadata"].get("generation", 0)
            host["status"] |= {"phase": "Running", "observedGeneration": generation}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.tuples(ACT, st.integers(0, 2)), min_size=4, max_size=12))
def test_both_sides_agree_in_five_rounds_and_then_rest(acts: list[tuple[Any, int]]) -> None:
    """Between two acts the engine looks never, once, or until nothing is left."""
    world = World()
    create(world)
    world.settle()
    for what, looks in acts:
        act(world, what)
        if looks:
            world.settle() if looks == 2 else world.round()
    world.settle()
    assert world.round() == 0
    agree(world)


def agree(world: World) -> None:
    virtual = world.virtual.objects[KEY]
    (host,) = [item for item in world.host.list("Pod") if not objects.is_deleting(item)] or [None]
    if host is None:
        return
    wanted = virtual["spec"].get("ephemeralContainers", [])
    allowed = {item["name"] for item in wanted if "securityContext" not in item}
    assert {item["name"] for item in host["spec"].get("ephemeralContainers", [])} == allowed
    told = {item["name"] for item in objects.status(virtual).get("ephemeralContainerStatuses") or ()}
    assert told == {item["name"] for item in wanted} - allowed
    assert "privileged" not in str(host)
    gate = objects.find_condition(virtual, GATE)
    assert objects.find_condition(host, GATE).get("status") == gate.get("status")
    for kind in ("Ready", "PodResizePending"):
        assert objects.find_condition(virtual, kind).get("status") == objects.find_condition(host, kind).get("status")
    size = virtual["spec"]["containers"][0]["resources"]
    assert host["spec"]["containers"][0]["resources"] == size
