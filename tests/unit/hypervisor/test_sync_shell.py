"""The small state that the sync engine's shell keeps: what was told, what is fought over, who works on a key."""

from __future__ import annotations

import asyncio

from loft.core.action import Create, Patch
from loft.core.resource import CONFIGMAPS
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.side import Step, on_host
from loft.hypervisor.sync_objects import Locks
from loft.hypervisor.sync_writes import REMEMBERED, REPEATS_MAX, Writer
from loft.kube.client import Client
from loft.kube.config import Endpoint


def writer() -> Writer:
    client = Client(Endpoint(server="https://127.0.0.1:1"))
    return Writer(client, client, Names("dev", "vc"))


def patch(value: str) -> list[Step]:
    return [on_host(Patch(CONFIGMAPS, "vc", "a", {"data": {"k": value}}))]


def test_the_same_patch_again_and_again_is_a_fight() -> None:
    state = writer()
    assert [state.is_fight("a", patch("x")) for _ in range(REPEATS_MAX + 1)] == [False] * REPEATS_MAX + [True]


def test_after_a_pause_the_patch_is_tried_again() -> None:
    state = writer()
    tried = [not state.is_fight("a", patch("x")) for _ in range(3 * (REPEATS_MAX + 1))]
    assert tried == ([True] * REPEATS_MAX + [False]) * 3


def test_a_patch_that_could_not_be_written_is_no_fight() -> None:
    """An API server that is away for a while must not keep objects from being written when it is back."""
    state = writer()
    for _ in range(3 * REPEATS_MAX):
        assert not state.is_fight("a", patch("x"))
        state.unwritten("a")


def test_different_patches_or_a_create_between_are_no_fight() -> None:
    state = writer()
    for number in range(3 * REPEATS_MAX):
        assert not state.is_fight("a", patch(str(number % 2)))
        assert not state.is_fight("b", patch("x") if number % 2 else [on_host(Create(CONFIGMAPS, {}))])


def test_what_was_told_is_remembered_within_bounds() -> None:
    state = writer()
    state.remember("u1", "message")
    assert state.told("u1") == {"message"}
    for number in range(REMEMBERED):
        state.remember(f"other-{number}", "m")
    assert state.told("u1") == frozenset()
    state.forget("other-5")
    assert state.told("other-5") == frozenset()


def test_one_worker_for_each_key_and_no_lock_is_kept() -> None:
    async def story() -> list[str]:
        locks, order = Locks(), []

        async def work(name: str, key: str) -> None:
            async with locks.hold(key):
                order.append(f"{name} in")
                await asyncio.sleep(0.01)
                order.append(f"{name} out")

        await asyncio.gather(work("a", "k"), work("b", "k"))
        assert not locks._locks and not locks._users
        return order

    assert asyncio.run(story()) == ["a in", "a out", "b in", "b out"]
