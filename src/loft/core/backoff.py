"""How long to wait before the next attempt: exponential, capped, with jitter; per key for work queues.

Randomness is an argument (a number in [0, 1)), so that every delay can be computed in a test.
"""

from __future__ import annotations

import msgspec

FAILURES_TRACKED_MAX = 100_000


class Backoff(msgspec.Struct, frozen=True):
    """A policy of delays. `jitter` is the share of the delay that randomness may take away."""

    base_s: float = 0.25
    cap_s: float = 60.0
    factor: float = 2.0
    jitter: float = 0.5

    def delay_s(self, failures: int, random: float) -> float:
        """Return seconds to wait after that many failures in a row (1 is the first); 0.0 for none."""
        if failures <= 0:
            return 0.0
        # The exponent is bounded before the power is taken, which would overflow for a key that fails for days.
        exponent = min(failures - 1, 64)
        full = min(self.cap_s, self.base_s * self.factor**exponent)
        return full * (1.0 - self.jitter * random)


class Failures:
    """Count failures in a row per key; keys that succeed are forgotten at once."""

    def __init__(self, policy: Backoff | None = None) -> None:
        self._policy = policy or Backoff()
        self._counts: dict[str, int] = {}

    def failed(self, key: str, random: float) -> float:
        """Note one more failure of `key`; return the seconds to wait."""
        count = self._counts.pop(key, 0) + 1
        if len(self._counts) >= FAILURES_TRACKED_MAX:
            # The oldest failing key starts over with a short delay: more attempts, never a lost key.
            del self._counts[next(iter(self._counts))]
        self._counts[key] = count
        return self._policy.delay_s(count, random)

    def forget(self, key: str) -> None:
        """Start over for `key`: it succeeded, or nobody asks for it any more."""
        self._counts.pop(key, None)

    def count(self, key: str) -> int:
        """Return the failures in a row of `key`."""
        return self._counts.get(key, 0)
