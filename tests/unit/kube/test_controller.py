from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from loft.kube.controller import Controller
from loft.kube.errors import Conflict, TooMany


def run(controller: Controller, test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        task = asyncio.create_task(controller.run())
        try:
            async with asyncio.timeout(10):
                await test()
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())


def test_keys_are_worked_on_side_by_side_but_each_once_at_a_time() -> None:
    async def main() -> None:
        running: dict[str, int] = {}
        most = 0
        seen: list[str] = []

        async def reconcile(key: str) -> None:
            nonlocal most
            running[key] = running.get(key, 0) + 1
            most = max(most, sum(running.values()))
            assert running[key] == 1
            await asyncio.sleep(0.02)
            running[key] -= 1
            seen.append(key)

        controller = Controller("test", reconcile, workers=2)
        task = asyncio.create_task(controller.run())
        for key in "abcd":
            controller.enqueue(key)
        await asyncio.sleep(0.01)
        controller.enqueue("a")  # while it is worked on: once more afterwards
        controller.enqueue("a")
        async with asyncio.timeout(5):
            await controller.idle()
        assert sorted(seen) == ["a", "a", "b", "c", "d"]
        assert most == 2
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_failures_are_tried_again_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        calls: list[str] = []
        done = asyncio.Event()

        async def reconcile(key: str) -> None:
            calls.append(key)
            if key == "conflict" and calls.count(key) == 1:
                raise Conflict(409, "Conflict", "somebody was faster")
            if key == "bug" and calls.count(key) < 3:
                raise KeyError("a fault of ours")
            if key == "bug":
                done.set()

        controller = Controller("test", reconcile)
        task = asyncio.create_task(controller.run())
        for key in ("bug", "fine", "conflict"):
            controller.enqueue(key)
        async with asyncio.timeout(5):
            await done.wait()
        assert (calls.count("bug"), calls.count("fine"), calls.count("conflict")) == (3, 1, 2)
        task.cancel()
        await asyncio.wait([task])

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert "a fault of ours" in caplog.text
    assert "somebody was faster" not in caplog.text


def test_a_server_that_asks_to_wait_is_obeyed() -> None:
    async def main() -> None:
        times: list[float] = []
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        async def reconcile(_: str) -> None:
            times.append(loop.time())
            if len(times) == 1:
                raise TooMany(429, "TooManyRequests", "slow down", retry_after_s=0.5)
            done.set()

        controller = Controller("test", reconcile)
        task = asyncio.create_task(controller.run())
        controller.enqueue("a")
        async with asyncio.timeout(5):
            await done.wait()
        assert times[1] - times[0] >= 0.5
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_looking_again_and_delays() -> None:
    async def main() -> None:
        calls: list[str] = []
        done = asyncio.Event()

        async def reconcile(key: str) -> float | None:
            calls.append(key)
            if calls.count("again") == 3:
                done.set()
            return 0.02 if key == "again" and calls.count("again") < 3 else None

        controller = Controller("test", reconcile)
        task = asyncio.create_task(controller.run())
        controller.enqueue("again")
        controller.enqueue_after("later", 0.05)
        async with asyncio.timeout(5):
            await done.wait()
            while "later" not in calls:
                await asyncio.sleep(0.01)
        assert calls.count("again") == 3
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_a_success_ends_the_back_off() -> None:
    async def main() -> None:
        times: list[float] = []
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        async def reconcile(_: str) -> float | None:
            times.append(loop.time())
            # Five failures, a success, one more failure: the wait after that is the shortest again.
            if len(times) == 6:
                return 0.001
            if len(times) == 8:
                done.set()
                return None
            raise Conflict(409, "Conflict", "somebody was faster")

        controller = Controller("test", reconcile)
        task = asyncio.create_task(controller.run())
        controller.enqueue("a")
        async with asyncio.timeout(10):
            await done.wait()
        assert times[5] - times[4] >= 0.4
        assert times[7] - times[6] < 0.3
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def test_a_key_whose_work_was_cancelled_by_nobody_is_not_lost() -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)
        task = asyncio.current_task()
        assert task is not None
        if len(seen) == 1:
            task.cancel()
        await asyncio.sleep(0)

    async def main() -> None:
        controller.enqueue("a")
        while len(seen) < 2:
            await asyncio.sleep(0.01)
        await controller.idle()

    controller = Controller("test", reconcile)
    run(controller, main)
    assert seen == ["a", "a"]
