"""Exit codes of every command; documented in docs/cli.md and relied on by scripts."""

from __future__ import annotations

ERROR = 1
USAGE = 2
NOT_FOUND = 3
NOT_LOGGED_IN = 4
FORBIDDEN = 5
CONFLICT = 6
TIMEOUT = 7
UNREACHABLE = 8
INTERRUPTED = 130
