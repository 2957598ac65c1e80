"""The one exception that commands end with: a line for people and an exit code for scripts."""

from __future__ import annotations

from loft.cli import exitcode


class Failure(Exception):
    """A command cannot go on; `message` says what is wrong and what to do."""

    def __init__(self, message: str, code: int = exitcode.ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def not_logged_in() -> Failure:
    """Return the failure for a missing or refused access key."""
    return Failure("Not logged in; run: loft login URL --username NAME", exitcode.NOT_LOGGED_IN)
