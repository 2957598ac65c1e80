"""The queue of a controller: each key at most once, never two workers on one key, delays, back-off.

Pure state; time is an argument. Semantics of client-go's workqueue: a key added while it is being
processed is remembered ("dirty") and handed out again when that is done.
"""

from __future__ import annotations

import heapq
from collections import deque

from loft.core.backoff import delay_s


class WorkQueue:
    """Keys to be reconciled.

    Invariants: a key is in `_queue` at most once; a key in `_processing` is not in `_queue`;
    `_dirty` holds every key that must still be handed out.
    """

    def __init__(self) -> None:
        self._queue: deque[str] = deque()
        self._dirty: set[str] = set()
        self._processing: set[str] = set()
        self._later: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, key: str) -> None:
        """Ask for a key to be handed out."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._queue.append(key)

    def add_after(self, key: str, wait_s: float, now: float) -> None:
        """Ask for a key in `wait_s` seconds; an earlier wish for the same key wins."""
        if wait_s <= 0:
            self.add(key)
            return
        due = now + wait_s
        if self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, key))

    def add_failed(self, key: str, now: float, jitter: float = 0.0) -> float:
        """Ask for a key again after its back-off; return the delay in seconds."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        wait_s = delay_s(count, jitter=jitter)
        self.add_after(key, wait_s, now)
        return wait_s

    def forget(self, key: str) -> None:
        """End the back-off of a key after a success."""
        self._failures.pop(key, None)

    def failures(self, key: str) -> int:
        """Return the failures in a row of a key."""
        return self._failures.get(key, 0)

    def advance(self, now: float) -> float | None:
        """Move keys whose time has come into the queue; return seconds until the next one, None when none waits."""
        while self._later:
            due, key = self._later[0]
            if self._due.get(key) != due:
                heapq.heappop(self._later)
                continue
            if due > now:
                return due - now
            heapq.heappop(self._later)
            del self._due[key]
            self.add(key)
        return None

    def take(self) -> str | None:
        """Hand out the next key, None when there is none now."""
        if not self._queue:
            return None
        key = self._queue.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: str) -> None:
        """Give a key back; it is handed out again if it was added meanwhile."""
        self._processing.discard(key)
        if key in self._dirty:
            self._queue.append(key)

    @property
    def idle(self) -> bool:
        """Nothing queued, nothing being processed (delayed keys do not count)."""
        return not self._queue and not self._processing
