"""A controller's loop: keys in, one reconcile at a time for each key, back-off after errors."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from loft.core.workqueue import WorkQueue
from loft.kube.errors import ApiError, Conflict

log = logging.getLogger(__name__)

Reconcile = Callable[[str], Awaitable[float | None]]


class Controller:
    """Calls `reconcile(key)`; a number it returns means "look again after so many seconds"."""

    def __init__(self, name: str, reconcile: Reconcile, *, workers: int = 4) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._queue = WorkQueue()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def enqueue(self, key: str) -> None:
        """Ask for a key to be reconciled soon."""
        self._queue.add(key)
        self._idle.clear()
        self._wake.set()

    def enqueue_after(self, key: str, delay_s: float) -> None:
        """Ask for a key to be reconciled after a while."""
        self._queue.add_after(key, delay_s, asyncio.get_running_loop().time())
        self._wake.set()

    async def idle(self) -> None:
        """Wait until nothing is queued or being reconciled; delayed keys do not count."""
        while not self._queue.idle:
            self._idle.clear()
            await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            free = asyncio.Semaphore(self._workers)
            while True:
                self._wake.clear()
                wait_s = self._queue.advance(asyncio.get_running_loop().time())
                await free.acquire()
                key = self._queue.take()
                if key is None:
                    free.release()
                    try:
                        async with asyncio.timeout(wait_s):
                            await self._wake.wait()
                    except TimeoutError:
                        pass
                    continue
                task = group.create_task(self._work(key))
                task.add_done_callback(lambda _: free.release())

    async def _work(self, key: str) -> None:
        now = asyncio.get_running_loop().time
        try:
            again_s = await self._reconcile(key)
        except Conflict as error:
            wait_s = self._queue.add_failed(key, now(), random.random())
            log.debug("%s %s: %s; again in %.2f s", self.name, key, error, wait_s)
        except ApiError as error:
            wait_s = self._queue.add_failed(key, now(), random.random())
            log.warning("%s %s: %s; again in %.1f s", self.name, key, error, wait_s)
        except Exception:
            wait_s = self._queue.add_failed(key, now(), random.random())
            log.exception("%s %s failed; again in %.1f s", self.name, key, wait_s)
        else:
            self._queue.forget(key)
            if again_s is not None:
                self._queue.add_after(key, again_s, now())
        finally:
            self._queue.done(key)
            self._wake.set()
            if self._queue.idle:
                self._idle.set()
