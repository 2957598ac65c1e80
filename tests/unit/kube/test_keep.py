from __future__ import annotations

import asyncio

import pytest

from loft.kube import keep


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
