"""Warm virtual clusters: as many as wished, and none that somebody has claimed is ever taken from them."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loft.cluster.claims import as_space, named
from loft.core.action import Action, Create, Delete, Patch
from loft.core.diff import apply_merge_patch
from loft.core.resource import NAMESPACES
from loft.tenancy.virtualcluster.release import WARM
from loft.tenancy.warmpool.plan import FREE, STARTING_MAX, claimed, kept, plan, ready

Object = dict[str, Any]


def namespace(name: str, mark: str = FREE, **metadata: Any) -> Object:
    labels = {WARM: mark} if mark else {}
    own = {"name": f"vcluster-{name}", "uid": f"n-{name}", "resourceVersion": "1", "labels": labels}
    return {"metadata": own | metadata}


def cluster(name: str, *, serves: bool = True, mark: str = FREE, **metadata: Any) -> Object:
    labels = {WARM: mark} if mark else {}
    own = {"name": name, "namespace": f"vcluster-{name}", "uid": f"c-{name}", "labels": labels}
    return {"metadata": own | metadata, "status": {"controlPlaneReady": serves}}


def ids() -> Any:
    numbers = itertools.count()
    return lambda: f"new{next(numbers)}"


class World:
    """The API server, as far as the plan writes there."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Object] = {}
        self.clusters: dict[str, Object] = {}
        self.new_id = ids()

    def plan(self, size: int) -> list[Action]:
        warm = [item for item in self.clusters.values() if WARM in item["metadata"]["labels"]]
        spaces = [item for item in self.namespaces.values() if WARM in item["metadata"]["labels"]]
        return plan(spaces, warm, size, self.new_id)

    def act(self, action: Action) -> None:
        if isinstance(action, Create) and action.resource == NAMESPACES:
            made = namespace(action.body["metadata"]["name"].removeprefix("vcluster-"))
            self.namespaces[made["metadata"]["name"]] = made
        elif isinstance(action, Create):
            made = cluster(action.body["metadata"]["name"], serves=False)
            self.clusters[made["metadata"]["namespace"]] = made
        elif isinstance(action, Delete):
            assert action.uid == self.namespaces.pop(action.name)["metadata"]["uid"]
            self.clusters.pop(action.name, None)
        elif isinstance(action, Patch):
            kept = self.namespaces if action.resource == NAMESPACES else self.clusters
            key = action.name if action.resource == NAMESPACES else action.namespace
            kept[key] = apply_merge_patch(kept[key], action.patch)

    def settle(self, size: int) -> None:
        for _ in range(50):
            actions = self.plan(size)
            if not actions and all(item["status"]["controlPlaneReady"] for item in self.clusters.values()):
                return
            for action in actions:
                self.act(action)
            for item in self.clusters.values():
                item["status"]["controlPlaneReady"] = True
        raise AssertionError("it does not settle")


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_it_settles_at_the_wished_number_whatever_was_wished_before(sizes: list[int]) -> None:
    world = World()
    for size in sizes:
        world.settle(size)
        assert len(world.namespaces) == len(world.clusters) == size


def test_only_a_few_start_at_a_time() -> None:
    world = World()
    for action in world.plan(10):
        world.act(action)
    assert len(world.namespaces) == STARTING_MAX
    assert [type(action) for action in world.plan(10)] == [Create] * STARTING_MAX


def test_one_that_is_still_starting_goes_before_one_that_serves() -> None:
    spaces = [namespace("a"), namespace("b")]
    (action,) = plan(spaces, [cluster("a"), cluster("b", serves=False)], 1, ids())
    assert isinstance(action, Patch)
    assert action.name == "vcluster-b"
    assert action.patch["metadata"]["resourceVersion"] == "1"


def test_what_is_retired_is_removed_and_counts_no_more() -> None:
    actions = plan([namespace("a", "retired")], [cluster("a")], 1, ids())
    assert [type(action) for action in actions] == [Delete, Create]
    going = namespace("a", "retired", deletionTimestamp="2026-01-01T00:00:00Z")
    assert [type(action) for action in plan([going], [], 0, ids())] == []


def test_after_a_claimer_died_the_virtual_cluster_is_an_ordinary_one() -> None:
    (left,) = claimed([namespace("b")], [cluster("a"), cluster("b")])
    assert plan([], [left], 0, ids()) == []
    action = kept(left)
    assert action.uid == "c-a"
    assert action.patch == {"metadata": {"labels": {WARM: None}}}


def test_only_what_serves_and_waits_can_be_claimed() -> None:
    going = cluster("c", deletionTimestamp="2026-01-01T00:00:00Z")
    found = ready([cluster("a", serves=False), cluster("b"), going, cluster("d", mark="")])
    assert [item["metadata"]["name"] for item in found] == ["b"]


def test_a_claimed_namespace_is_a_space_of_its_owner_and_nobody_elses() -> None:
    spec = {"virtualCluster": "dev", "user": "ann", "displayName": "Dev"}
    space = as_space(namespace("a"), spec)
    assert space["metadata"]["labels"] == {"loft.sh/space": "true"}
    assert space["metadata"]["resourceVersion"] == "1"
    assert space["metadata"]["annotations"] == {"loft.sh/display-name": "Dev", "loft.sh/owner-user": "ann"}
    body = named(cluster("a"), spec)
    assert body["metadata"] == {
        "name": "dev",
        "namespace": "vcluster-a",
        "annotations": {"loft.sh/display-name": "Dev"},
    }
    assert body["spec"] == {"helmRelease": {"name": "a"}}
