"""What a child process is, and the rules of when it starts, stops and comes back. Pure."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

Probe = Callable[[], Awaitable[bool]]
"""Asks a process whether it is ready; never raises, answers within a few seconds."""

# A process that stayed up this long is healthy: the next failure counts as the first one.
HEALTHY_S = 60.0
DELAY_S_MIN = 0.5
DELAY_S_MAX = 30.0


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A child process that should always run."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    """The whole environment; None hands on ours."""
    ready: Probe | None = None
    """None: ready as soon as it runs."""
    ready_timeout_s: float = 120.0
    """Not ready for so long after its start: it is stopped and started again."""
    after: Sequence[str] = ()
    """Names of processes that are ready before this one starts, and that stop only after it has ended."""
    stop_signal: int = signal.SIGTERM
    stop_timeout_s: float = 15.0
    """How long it may take to end before it is killed."""
    log: Path | None = None
    """File that gets its output (bounded, see logs.py); None hands on ours."""
    directory: Path | None = None
    """Working directory."""


class BadProcesses(ValueError):
    """The set of processes cannot be ordered; the message says why."""


def start_order(processes: Sequence[Process]) -> list[str]:
    """Return the names, each one behind all that it comes after.

    Raises: BadProcesses for a name given twice, an unknown name in `after`, or a cycle.
    """
    by_name = {process.name: process for process in processes}
    if len(by_name) != len(processes):
        raise BadProcesses("two processes have the same name")
    order: list[str] = []
    visiting: set[str] = set()

    def visit(name: str, wanted_by: str) -> None:
        if name in order:
            return
        if name not in by_name:
            raise BadProcesses(f"{wanted_by} comes after {name}, which is not there")
        if name in visiting:
            raise BadProcesses(f"{name} comes after itself")
        visiting.add(name)
        for earlier in by_name[name].after:
            visit(earlier, name)
        visiting.discard(name)
        order.append(name)

    for process in processes:
        visit(process.name, "")
    return order


def dependents(processes: Sequence[Process], name: str) -> list[str]:
    """Return the names of the processes that come directly after `name`: they stop before it."""
    return [process.name for process in processes if name in process.after]


def failures_after(failures: int, lived_s: float) -> int:
    """Count a failure: a process that had been healthy begins at one again."""
    return 1 if lived_s >= HEALTHY_S else failures + 1


def restart_delay_s(failures: int) -> float:
    """Return how long to wait before the next start after so many failures in a row.

    Doubles from DELAY_S_MIN to DELAY_S_MAX. No jitter: a machine has few processes, and each waits alone.
    """
    return min(DELAY_S_MIN * 2.0 ** min(failures - 1, 16), DELAY_S_MAX) if failures > 0 else 0.0
