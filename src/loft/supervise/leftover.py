"""Processes that an earlier, killed supervisor left behind: found again and ended before anything starts.

Children die with their supervisor (see spawn.py), so this is the second line: it also covers a child that
changed its credentials, and a supervisor that was killed between fork and exec. A pid alone says nothing,
since numbers are used again: the file holds the start time and the boot as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

_POLL_S = 0.02


class Mark(msgspec.Struct, frozen=True):
    """What identifies a process for as long as the machine is up."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks after boot."""
    boot_id: str


def mark_of(pid: int) -> Mark | None:
    """Return the mark of a living process (a zombie is not living), None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name is in parentheses and may hold spaces and parentheses itself: count from the last one.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return Mark(pid, int(fields[19]), _boot_id())


def is_alive(mark: Mark) -> bool:
    """Tell whether that very process still runs."""
    return mark_of(mark.pid) == mark


def write(path: Path, pid: int) -> None:
    """Note down a running process; the file is replaced atomically."""
    mark = mark_of(pid)
    if mark is None:
        return
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(mark))
    temporary.rename(path)


def read(path: Path) -> Mark | None:
    """Read a file made by `write`; None when it is not there, or not readable as one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError):
        return None


async def end(mark: Mark, *, timeout_s: float = 5.0, polite: int = signal.SIGTERM) -> bool:
    """End the process: politely, then by SIGKILL; return whether it had to be killed.

    Raises: TimeoutError when it outlives even SIGKILL (it hangs in the kernel).
    """
    if await _signal_and_wait(mark, polite, timeout_s):
        return False
    log.warning("process %d does not end; killing it", mark.pid)
    if not await _signal_and_wait(mark, signal.SIGKILL, 10.0):
        raise TimeoutError(f"process {mark.pid} does not end, not even when killed")
    return True


async def end_all(directory: Path) -> list[str]:
    """End every process noted down in `directory` that still runs; return their names."""
    found = _living(directory)
    await asyncio.gather(*(end(mark, timeout_s=2.0) for _, mark in found))
    _forget(directory)
    return [name for name, _ in found]


def _living(directory: Path) -> list[tuple[str, Mark]]:
    marks = [(path.stem, read(path)) for path in sorted(directory.glob("*.pid"))]
    return [(name, mark) for name, mark in marks if mark is not None and is_alive(mark)]


def _forget(directory: Path) -> None:
    for path in directory.glob("*.pid"):
        path.unlink(missing_ok=True)


async def _signal_and_wait(mark: Mark, number: int, timeout_s: float) -> bool:
    if is_alive(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(mark.pid, number)
    deadline = asyncio.get_running_loop().time() + timeout_s
    while is_alive(mark):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
