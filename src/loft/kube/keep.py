"""Restart what failed, for one tenant's or one part's work beside others in a TaskGroup."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from loft.core.backoff import Backoff

log = logging.getLogger(__name__)

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
