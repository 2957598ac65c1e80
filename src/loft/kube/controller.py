"""Runs a reconcile function for keys: each key once at a time, failures with back-off, never giving one up.

This is the only place that tries again: code below it reports a failure and leaves the key to its back-off.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from loft.core.backoff import Backoff, Failures
from loft.core.workqueue import WorkQueue
from loft.kube.errors import ApiError, Conflict

log = logging.getLogger(__name__)

RETRY = Backoff(base_s=0.05, cap_s=60.0)

Reconcile = Callable[[str], Awaitable[float | None]]


class Controller:
    """A work queue and the workers that drain it.

    `reconcile(key)` looks at what is there and acts; it returns seconds after which to look again, or None for
    only on change. `clock` is monotonic seconds.
    """

    def __init__(
        self, name: str, reconcile: Reconcile, *, workers: int = 4, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._clock = clock
        self._queue = WorkQueue()
        self._failures = Failures(RETRY)
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._queue)

    def enqueue(self, key: str) -> None:
        """Let `key` be reconciled soon. Raises: QueueFull."""
        self._queue.add(key)
        self._notice()

    def enqueue_after(self, key: str, delay_s: float) -> None:
        """Let `key` be reconciled after a while; the earliest of several dates counts. Raises: QueueFull."""
        self._queue.add_after(key, self._clock(), delay_s)
        self._notice()

    async def idle(self) -> None:
        """Wait until nothing is queued or being reconciled (delayed keys do not count)."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled; reconciles under way are cancelled with it."""
        running: set[asyncio.Task[None]] = set()

        def ended(task: asyncio.Task[None]) -> None:
            # The worker is free only now, after the task has told of its key: look for keys once more.
            running.discard(task)
            self._changed.set()

        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = self._clock()
                due = self._queue.advance(now)
                while len(running) < self._workers and (key := self._queue.get()) is not None:
                    task = group.create_task(self._work(key), name=f"{self.name} {key}")
                    running.add(task)
                    task.add_done_callback(ended)
                await self._sleep(None if due is None else due - now)

    async def _sleep(self, delay_s: float | None) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _work(self, key: str) -> None:
        again_s: float | None = None
        try:
            again_s = await self._reconcile(key)
            self._failures.forget(key)
        except ApiError as error:
            again_s = max(self._failures.failed(key, random.random()), error.retry_after_s or 0.0)
            # Somebody else was faster: the ordinary course of things with several writers.
            level = logging.DEBUG if isinstance(error, Conflict) else logging.WARNING
            log.log(level, "%s %s: %s; again in %.1f s", self.name, key, error, again_s)
        except asyncio.CancelledError:
            # At the end of all work this changes nothing; otherwise the key is not to be lost.
            self._queue.add(key)
            raise
        except Exception:
            again_s = self._failures.failed(key, random.random())
            log.exception("%s %s failed; again in %.1f s", self.name, key, again_s)
        finally:
            self._queue.done(key)
            if again_s is not None:
                self._queue.add_after(key, self._clock(), again_s)
            self._notice()

    def _notice(self) -> None:
        self._changed.set()
        if self._queue.idle:
            self._idle.set()
        else:
            self._idle.clear()
