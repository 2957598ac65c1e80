"""What a controller meets in the wild: it dies between two writes, acts on an old view, misses what happened.

After each of these, whatever the history, the host ends as if nothing had been. The three patterns are those of
"Automatic Reliability Testing for Cluster Management Controllers" (OSDI 2022).
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws.hypervisor.test_sync_laws import end_pods, histories, play, relaxed
from laws.hypervisor.world import MAPPINGS, Refused, Server, World
from loft.hypervisor.core import objects
from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.mapping import Mapping, Scope
from loft.hypervisor.core.side import Step

pytestmark = pytest.mark.law

History = list[tuple[str, Any]]


class Crash(Exception):
    """The process is gone."""


class Frail(World):
    """A world whose engine can die before any of its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        """Writes until it dies; None: it lives."""

    def do(self, step: Step) -> None:
        if self.left is not None:
            if not self.left:
                raise Crash
            self.left -= 1
        super().do(step)

    def restart(self) -> None:
        """A new process remembers nothing."""
        self.left = None
        self.told = {}


def as_it_is(server: Server) -> Server:
    """Return a picture of a server."""
    picture = Server("picture")
    picture.objects = copy.deepcopy(server.objects)
    return picture


class Behind(World):
    """A world whose engine sees both servers as they were some time ago, but writes to them as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: tuple[Server, Server] | None = None

    def look_away(self) -> None:
        """What happens from now on is not seen."""
        self.seen = (as_it_is(self.virtual), as_it_is(self.host))

    def steps(self, mapping: Mapping, namespace: str, name: str) -> list[Step]:
        if self.seen is None:
            return super().steps(mapping, namespace, name)
        now = (self.virtual, self.host)
        self.virtual, self.host = self.seen
        try:
            return super().steps(mapping, namespace, name)
        finally:
            self.virtual, self.host = now

    def do(self, step: Step) -> None:
        try:
            super().do(step)
        except (Refused, AssertionError):
            # A precondition did not hold, or the object is gone: it is tried again with a newer view.
            if self.seen is None:
                raise


def ended(world: World) -> dict[Any, Any]:
    """Let everything come to rest; return the host's objects without what differs from run to run."""
    count_budgets(world)
    for _ in range(3):
        world.settle()
        end_pods(world)
    world.settle()
    assert world.round() == 0
    return {key: plain(obj) for key, obj in world.host.objects.items() if is_accepted(world, obj)}


def count_budgets(world: World) -> None:
    """Play the disruption controller inside: until it has counted, the host keeps what it had."""
    condition = {"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods"}
    for budget in world.virtual.list("PodDisruptionBudget"):
        budget["status"] = {"observedGeneration": 1, "desiredHealthy": 2, "conditions": [condition]}


def is_accepted(world: World, host: dict[str, Any]) -> bool:
    """Whether the virtual object of a host object may cross as it is now.

    One that may not stays on the host as an earlier, accepted version was, if the engine has seen that.
    """
    mapping = MAPPINGS[objects.annotations(host)[objects.OBJECT_KIND]]
    namespace, _, name = objects.virtual_key(host).rpartition("/")
    virtual = world.virtual.get(mapping.kind, namespace, name)
    assert virtual is not None, "what is gone inside is gone on the host"
    scope = Scope(world.names, world.context(mapping.key, virtual), virtual, namespace)
    return mapping.closed or not host_body(mapping, virtual, scope)[1]


def plain(host: dict[str, Any]) -> dict[str, Any]:
    """Return an object without uids and digests; what a kubelet and a scheduler have said is theirs."""
    found = copy.deepcopy(host)
    found.pop("status", None)
    (found.get("spec") or {}).pop("nodeName", None)
    found["metadata"].pop("uid", None)
    for mark in (objects.OBJECT_UID, objects.APPLIED):
        (found["metadata"].get("annotations") or {}).pop(mark, None)
    return found


def undisturbed(history: History) -> dict[Any, Any]:
    world = World()
    play(world, history)
    return ended(world)


def without_pods(history: History) -> History:
    """A Pod that was on the host is never made again; whether it was there depends on when the engine looked."""
    return [(what, body) for what, body in history if body["kind"] != "Pod"]


@relaxed
@given(histories(), st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_dying_between_writes_leaves_no_trace(history: History, deaths: list[int]) -> None:
    world = Frail()
    play(world, history)
    for left in deaths:
        world.left = left
        with contextlib.suppress(Crash):
            world.round()
        world.restart()
    assert ended(world) == undisturbed(history)


@relaxed
@given(histories(), histories())
def test_acting_on_an_old_view_is_put_right_by_a_newer_one(before: History, meanwhile: History) -> None:
    world = Behind()
    play(world, before)
    world.look_away()
    play(world, [act for act in without_pods(meanwhile) if act[0] != "settle"])
    for _ in range(2):
        world.round()
    world.seen = None
    assert ended(world) == undisturbed([*before, *without_pods(meanwhile)])


@relaxed
@given(histories(), st.data())
def test_what_was_missed_is_made_up_for_when_it_looks_again(history: History, data: Any) -> None:
    world = World()
    for number, act in enumerate(history):
        play(world, [act])
        if data.draw(st.booleans(), label=f"looks after {number}"):
            keys = [(m, *key) for m in MAPPINGS.values() for key in world.keys(m)]
            for mapping, namespace, name in keys:
                if mapping.kind != "Pod" and data.draw(st.booleans()):
                    for step in world.steps(mapping, namespace, name):
                        world.do(step)
    assert ended(world) == undisturbed(history)


def sound(world: World) -> None:
    """Of Pods: nothing is left over, nothing is there twice, nothing that should run is missing without a word.

    Which one it is, the first or one made again, depends on when the engine looked, so no two runs are compared.
    """
    ended(world)
    hosts = [host for host in world.host.list("Pod") if world.is_ours(host)]
    owners = [objects.owner_uid(host) for host in hosts]
    living = {objects.uid(pod): pod for pod in world.virtual.list("Pod")}
    assert len(owners) == len({*owners}) and {*owners} <= {*living}
    for uid, pod in living.items():
        is_over = objects.status(pod).get("phase") in ("Succeeded", "Failed") or objects.is_deleting(pod)
        assert uid in owners or is_over or world.told.get(uid), f"{objects.key(pod)} is nowhere, and nobody was told"


@relaxed
@given(histories(), histories())
def test_pods_survive_an_old_view(before: History, meanwhile: History) -> None:
    world = Behind()
    play(world, before)
    world.look_away()
    play(world, [act for act in meanwhile if act[0] != "settle"])
    for _ in range(2):
        world.round()
    world.seen = None
    sound(world)


@relaxed
@given(histories(), st.data())
def test_pods_survive_missed_events(history: History, data: Any) -> None:
    world = World()
    for number, act in enumerate(history):
        play(world, [act])
        if data.draw(st.booleans(), label=f"looks after {number}"):
            for namespace, name in world.keys(MAPPINGS["Pod"]):
                if data.draw(st.booleans()):
                    for step in world.steps(MAPPINGS["Pod"], namespace, name):
                        world.do(step)
    sound(world)
