"""Restart what failed, for one tenant's or one part's work beside others in a TaskGroup."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from loft.core.backoff import Backoff

log = logging.getLogger(__name__)


class Ended(Exception):
    """A part that lasts as long as the whole is no longer at work."""


HEALTHY_S = 60.0
"""A job that ran for so long before it failed starts over with the shortest wait."""


async def keep_running(name: str, job: Callable[[], Awaitable[None]], *, delay_s_max: float = 30.0) -> None:
    """Run `job` until it returns; after an exception wait and run it again.

    The faults of one part then never cancel its siblings. Cancellation passes through. Waits grow from
    1 s to `delay_s_max`, with jitter, and begin anew after a healthy minute.
    """
    policy = Backoff(base_s=1.0, cap_s=delay_s_max)
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        began = loop.time()
        try:
            await job()
            return
        except Exception:
            failures = 1 if loop.time() - began >= HEALTHY_S else failures + 1
            wait_s = policy.delay_s(failures, random.random())
            log.exception("%s failed; starting it again in %.1f s", name, wait_s)
        await asyncio.sleep(wait_s)


async def lasting(name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Run a job of a TaskGroup that never ends by itself; its end is an error, whichever way it came.

    A TaskGroup takes a task that was cancelled for one that is done. A cancellation that nobody here has asked for
    (a time limit gone astray) would leave the group running without that part.
    Raises: Ended, and what the job raises. Cancellation passes through.
    """
    task = asyncio.ensure_future(job())
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()):
        raise error
    raise Ended(f"{name} has ended" + (", cancelled by nobody" if task.cancelled() else ""))
