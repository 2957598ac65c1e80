"""Virtual Nodes: what they show, and that a tenant's own Nodes are left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from loft.core.action import Create, Delete, Patch
from loft.core.diff import apply_merge_patch
from loft.hypervisor.core import objects
from loft.hypervisor.kinds.node import CONSERVATIVE, plan_node, relevant, virtual_node
from loft.hypervisor.kinds.node_taints import HOST_TAINTS
from loft.hypervisor.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(name="dev", host_namespace="vc")
HOST_NODE: dict[str, Any] = {
    "metadata": {
        "name": "node-a",
        "uid": "h1",
        "labels": {"kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": "z1", "billing.example.org/team": "x"},
        "annotations": {"secret.example.org/x": "y"},
    },
    "spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "x"}], "providerID": "cloud://1"},
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": "192.0.2.1"},
            {"type": "ExternalIP", "address": "198.51.100.1"},
        ],
        "capacity": {"cpu": "8"},
        "allocatable": {"cpu": "7"},
        "images": [{"names": ["other-tenants-image"]}],
        "nodeInfo": {"kubeletVersion": "v1.36.3", "machineID": "m", "bootID": "b", "architecture": "amd64"},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
            {"type": "example.org/Own", "status": "True"},
        ],
    },
}


def existing(**changes: Any) -> dict[str, Any]:
    node = virtual_node("node-a", HOST_NODE, "", SETTINGS)
    return node | {"metadata": node["metadata"] | {"uid": "v1", "resourceVersion": "7"}} | changes


def test_only_listed_facts_of_a_host_node_are_shown() -> None:
    node = virtual_node("node-a", HOST_NODE, "", SETTINGS)
    text = str(node)
    for hidden in ("billing", "secret.example", "198.51.100.1", "other-tenants-image", "cloud://", "example.org/Own"):
        assert hidden not in text
    assert node["spec"] == {"taints": [{"key": "x"}]}
    assert "machineID" not in node["status"]["nodeInfo"]
    assert node["status"]["allocatable"] == {"cpu": "7"}
    assert node["status"]["addresses"][0] == {"type": "InternalIP", "address": "192.0.2.1"}
    assert node["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}


def test_without_the_right_to_read_nodes_figures_are_conservative() -> None:
    node = virtual_node("node-a", None, "192.0.2.9", SETTINGS)
    assert node["status"]["capacity"] == CONSERVATIVE
    assert node["status"]["addresses"][0]["address"] == "192.0.2.9"
    assert [item["type"] for item in virtual_node("node-a", None, "", SETTINGS)["status"]["addresses"]] == ["Hostname"]


def test_the_cache_keeps_what_is_shown_and_no_heartbeat() -> None:
    kept = relevant(HOST_NODE)
    assert relevant(kept) == kept
    assert "lastHeartbeatTime" not in str(kept)


def test_a_node_is_made_with_stamped_conditions() -> None:
    (step,) = plan_node(None, virtual_node("node-a", HOST_NODE, "", SETTINGS), NOW)
    assert isinstance(step.action, Create)
    assert step.action.body["status"]["conditions"][0]["lastHeartbeatTime"] == "2026-01-01T00:00:00Z"


def test_a_node_that_is_as_it_should_be_costs_nothing() -> None:
    assert plan_node(existing(), virtual_node("node-a", HOST_NODE, "", SETTINGS), NOW) == []


def test_a_tenants_label_on_our_node_stays() -> None:
    node = existing()
    node["metadata"]["labels"] |= {"mine": "yes"}
    assert plan_node(node, virtual_node("node-a", HOST_NODE, "", SETTINGS), NOW) == []


def test_an_address_learnt_later_is_added() -> None:
    before = virtual_node("node-a", None, "", SETTINGS)
    before["metadata"]["uid"] = "v1"
    (step,) = plan_node(before, virtual_node("node-a", None, "192.0.2.9", SETTINGS), NOW)
    assert isinstance(step.action, Patch) and step.action.subresource == "status" and step.action.uid == "v1"


def test_an_unused_node_goes_but_never_a_tenants_own() -> None:
    (step,) = plan_node(existing(), None, NOW)
    assert isinstance(step.action, Delete) and step.action.uid == "v1"
    own = existing()
    own["metadata"]["annotations"] = {}
    assert plan_node(own, None, NOW) == []
    assert plan_node(own, virtual_node("node-a", HOST_NODE, "192.0.2.2", SETTINGS), NOW) == []


def tainted(*taints: dict[str, Any], cordoned: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"taints": list(taints)} if taints else {}
    host = HOST_NODE | {"spec": spec | ({"unschedulable": True} if cordoned else {})}
    return virtual_node("node-a", host, "", SETTINGS)


INFRA = {"key": "infra", "value": "yes", "effect": "NoSchedule"}
MINE = {"key": "mine", "effect": "NoExecute"}
ANNOTATIONS = {objects.HOST_NODE: "node-a"}
CORDON = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def settled(node: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What becomes of a virtual Node, after one plan; the next one is empty."""
    for step in plan_node(node, wanted, NOW):
        assert isinstance(step.action, Patch) and step.action.uid == "v1"
        assert step.action.patch["metadata"]["resourceVersion"] == "7"
        node = apply_merge_patch(node, step.action.patch)
    assert plan_node(node, wanted, NOW) == []
    return node


def test_taints_of_the_host_come_and_go_and_the_tenants_stay() -> None:
    node = existing(spec={"taints": [MINE]})
    node = settled(node, tainted(INFRA))
    assert node["spec"]["taints"] == [MINE, INFRA]
    node = settled(node, tainted(INFRA | {"value": "no"}))
    assert node["spec"]["taints"] == [MINE, INFRA | {"value": "no"}]
    assert settled(node, tainted())["spec"]["taints"] == [MINE]


def test_a_tenants_cordon_stays_and_the_hosts_goes_with_the_hosts() -> None:
    own = existing(spec={"unschedulable": True, "taints": [{"key": "x"}]})
    assert settled(own, tainted())["spec"].get("unschedulable")
    node = settled(existing(), tainted(CORDON, cordoned=True))
    assert node["spec"] == {"unschedulable": True, "taints": [CORDON]}
    assert "unschedulable" not in settled(node, tainted())["spec"]


def test_a_taint_taken_away_inside_is_put_back_whatever_the_mark_says() -> None:
    node = settled(existing(), tainted(INFRA))
    for mark in ('[["infra","NoSchedule"]]', "nonsense", "[1]", ""):
        broken = node | {"spec": {}, "metadata": node["metadata"] | {"annotations": {**ANNOTATIONS, HOST_TAINTS: mark}}}
        assert settled(broken, tainted(INFRA))["spec"]["taints"] == [INFRA]
