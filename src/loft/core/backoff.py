"""Exponential back-off as a pure function of the number of failures."""

from __future__ import annotations


def delay_s(failures: int, *, first_s: float = 0.05, most_s: float = 30.0, jitter: float = 0.0) -> float:
    """Return how long to wait after the n-th failure in a row (n >= 1).

    Args:
        failures: failures in a row.
        first_s: wait after the first.
        most_s: never longer than this.
        jitter: a number in [0, 1) from the caller; up to half of the delay is taken away by it.
    """
    if failures <= 0:
        return 0.0
    whole = min(most_s, first_s * float(2 ** min(failures - 1, 32)))
    return whole * (1.0 - jitter / 2)
