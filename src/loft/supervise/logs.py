"""Log files of child processes, bounded in size.

A child writes to its file directly, not through a pipe of ours: it never waits for us, and its last words
are kept when we are killed. So the bound is kept from outside: a file that has grown too large is copied to
`<name>.1` and cut to nothing. Children append (O_APPEND), so they go on at the new end. Lines written
between copy and cut are lost; that is the price.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SIZE_BYTES_MAX = 16 * 1024 * 1024


def open_log(path: Path) -> int:
    """Open for appending, make it if need be (0640); return the file descriptor, which the caller closes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def bound(path: Path, size_bytes_max: int = SIZE_BYTES_MAX) -> bool:
    """Cut the file if it is larger than allowed, keeping one older part; return whether it was cut."""
    try:
        if path.stat().st_size <= size_bytes_max:
            return False
    except FileNotFoundError:
        return False
    older = path.with_name(path.name + ".1")
    shutil.copyfile(path, older)
    os.truncate(path, 0)
    return True


def last_lines(path: Path, count: int = 5, size_bytes: int = 8192) -> list[str]:
    """Return the last lines, for an error message; empty when there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size_bytes))
            text = file.read(size_bytes).decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]
