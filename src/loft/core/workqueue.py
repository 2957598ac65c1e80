"""A work queue of keys with client-go's dirty and processing sets, as a pure state machine.

The three promises that controllers rest on: a key waits at most once, a key is never worked on twice at a
time, and a key added while it is worked on is handed out again afterwards (so no change is lost). Time is
an argument; whoever waits for the queue (loft.kube.controller) brings clock and event loop.
Source of the semantics: k8s.io/client-go/util/workqueue.
"""

from __future__ import annotations

import heapq

LIMIT = 100_000
"""Keys that may wait, be in work or be delayed. More means that a key is made from something unbounded."""


class QueueFull(Exception):
    """More distinct keys than the queue may hold; dropping one silently would lose a change for ever."""


class WorkQueue:
    """Keys that wait (`dirty`), are worked on (`processing`), or are to be added at a later time."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        # Ordered: a dict keeps the order in which keys became dirty, and gives O(1) membership.
        self._waiting: dict[str, None] = {}
        self._processing: set[str] = set()
        # Dirty while processing: handed out again by done().
        self._again: set[str] = set()
        self._due: dict[str, float] = {}
        # Entries whose time differs from `_due` are leftovers of an earlier, later date; skipped when met.
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Keys that can be handed out now."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is worked on (delayed keys do not count)."""
        return not self._waiting and not self._processing

    def add(self, key: str) -> None:
        """Let `key` be worked on once more.

        Raises: QueueFull.
        """
        if key in self._waiting or key in self._again:
            return
        if key in self._processing:
            self._again.add(key)
            return
        self._room_for_one()
        self._waiting[key] = None

    def add_after(self, key: str, now: float, delay_s: float) -> None:
        """Let `key` be added once `delay_s` seconds have passed; the earliest of several dates counts.

        Raises: QueueFull.
        """
        if delay_s <= 0:
            self._due.pop(key, None)
            self.add(key)
            return
        when = now + delay_s
        known = self._due.get(key)
        if known is not None and known <= when:
            return
        if known is None:
            self._room_for_one()
        self._due[key] = when
        heapq.heappush(self._heap, (when, key))
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(at, later) for later, at in self._due.items()]
            heapq.heapify(self._heap)

    def advance(self, now: float) -> float | None:
        """Add the delayed keys whose time has come; return the time of the next one, or None."""
        while self._heap:
            when, key = self._heap[0]
            if self._due.get(key) != when:
                heapq.heappop(self._heap)
                continue
            if when > now:
                return when
            heapq.heappop(self._heap)
            del self._due[key]
            self.add(key)
        return None

    def get(self) -> str | None:
        """Hand out the key that has waited longest, or None; the caller must call `done` with it."""
        if not self._waiting:
            return None
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._processing.add(key)
        return key

    def done(self, key: str) -> None:
        """Take a key back; it waits again at once when it was added in the meantime.

        Raises: ValueError when the key was not handed out.
        """
        if key not in self._processing:
            raise ValueError(f"key {key!r} is not being worked on")
        self._processing.remove(key)
        if key in self._again:
            self._again.remove(key)
            self._waiting[key] = None

    def _room_for_one(self) -> None:
        if len(self._waiting) + len(self._processing) + len(self._due) >= self._limit:
            raise QueueFull(f"the work queue holds {self._limit} keys")
