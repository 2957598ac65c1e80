"""One tenant's or one part's work inside a shared TaskGroup: its fault must not cancel the others'."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

HEALTHY_S = 60.0


async def keep_running(name: str, job: Callable[[], Awaitable[None]], *, delay_s_max: float = 30.0) -> None:
    """Run `job` until it returns; after an error wait and start it again.

    Cancellation passes through. The wait doubles from 1 s to `delay_s_max` with jitter and begins anew
    after a minute without a fault.
    """
    delay_s = 1.0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            await job()
            return
        except Exception:
            if loop.time() - began > HEALTHY_S:
                delay_s = 1.0
            log.exception("%s failed; again in at most %.0f s", name, delay_s)
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
        delay_s = min(delay_s * 2, delay_s_max)
