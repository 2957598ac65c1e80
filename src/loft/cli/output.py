"""What people see: messages on stderr, tables and objects on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


class Messages:
    """Writes `[info]`, `[done]`, `[warn]` and `[fatal]` lines; `silent` keeps only the last two."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent

    def _write(self, tag: str, text: str) -> None:
        print(f"[{tag}] {text}", file=sys.stderr, flush=True)

    def info(self, text: str) -> None:
        """Say what is going on."""
        if not self.silent:
            self._write("info", text)

    def done(self, text: str) -> None:
        """Say what was achieved."""
        if not self.silent:
            encoding = (sys.stderr.encoding or "").lower().replace("-", "")
            self._write("done", ("√ " if encoding == "utf8" else "") + text)

    def warn(self, text: str) -> None:
        """Say what the user should know although the command goes on."""
        self._write("warn", text)

    def fatal(self, text: str) -> None:
        """Say why the command ends; several reasons are several lines, and what belongs to one is indented."""
        for line in text.splitlines() or [""]:
            if line.startswith(" "):
                print(line, file=sys.stderr, flush=True)
            else:
                self._write("fatal", line)


def age(timestamp: str | None, now: datetime) -> str:
    """Return a time span as kubectl prints it (`45s`, `12m`, `5h`, `3d`); `<unknown>` without a timestamp."""
    if not timestamp:
        return "<unknown>"
    then = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size, limit in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns, three spaces apart, without borders."""
    widths = [max(len(str(row[column])) for row in [headers, *rows]) for column in range(len(headers))]
    lines = [
        "   ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [headers, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def show(objects: list[dict[str, Any]], headers: Sequence[str], rows: Sequence[Sequence[str]], form: str) -> None:
    """Print objects as a table, or whole as JSON or YAML, or by name."""
    if form == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2))
    elif form == "yaml":
        import yaml

        print(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": objects}, sort_keys=False), end="")
    elif form == "name":
        for item in objects:
            print(item["metadata"]["name"])
    else:
        print(table(headers, rows))


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)
