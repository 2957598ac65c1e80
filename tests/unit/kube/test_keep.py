from __future__ import annotations

import asyncio

import pytest

from loft.kube import keep
from loft.kube.keep import Ended, lasting


def test_a_failing_job_is_started_again_and_its_siblings_live(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def fast(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", fast)
    runs = 0

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs < 8:
            raise RuntimeError("fault")

    finished = []

    async def sibling() -> None:
        for _ in range(20):
            await sleep(0)
        finished.append(True)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(keep.keep_running("job", job, delay_s_max=10.0))
            group.create_task(sibling())

    asyncio.run(main())
    assert runs == 8
    assert finished
    assert all(0.5 <= waited <= 10.0 for waited in waits)
    assert waits[-1] >= 5.0, "waits grow to the longest"


def test_cancellation_passes_through() -> None:
    async def main() -> None:
        task = asyncio.create_task(keep.keep_running("job", asyncio.Event().wait))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_healthy_minute_makes_the_wait_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "HEALTHY_S", 0.02)
    waits: list[float] = []
    sleep = asyncio.sleep

    async def fast(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", fast)
    runs = 0

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs == 5:
            await sleep(0.03)
        if runs < 6:
            raise RuntimeError("fault")

    asyncio.run(keep.keep_running("job", job))
    assert waits[3] > 2.0
    assert waits[4] <= 1.0


def test_a_part_that_is_cancelled_by_nobody_ends_the_whole_loudly() -> None:
    """A TaskGroup alone would go on without it."""

    async def part() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.01, task.cancel)
        await asyncio.sleep(60)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting("the cache", part))
            group.create_task(asyncio.sleep(60))

    with pytest.raises(BaseExceptionGroup) as found:
        asyncio.run(main())
    assert str(found.value.exceptions[0]) == "the cache has ended, cancelled by nobody"


def test_a_lasting_part_passes_on_errors_ends_and_cancellation() -> None:
    cleaned = []

    async def ends() -> None:
        return

    async def fails() -> None:
        raise ValueError("why")

    async def works() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def main() -> None:
        with pytest.raises(Ended, match=r"^part has ended$"):
            await lasting("part", ends)
        with pytest.raises(ValueError, match="why"):
            await lasting("part", fails)
        task = asyncio.create_task(lasting("part", works))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == [True]

    asyncio.run(main())
