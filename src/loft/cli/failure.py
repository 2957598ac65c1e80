"""The one exception that commands end with: a line for people and an exit code for scripts."""

from __future__ import annotations

from loft.cli import exitcode


class Failure(Exception):
    """A command cannot go on; `message` says what is wrong and what to do."""

    def __init__(self, message: str, code: int = exitcode.ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Refused(Failure):
    """An instance refused the credential; `reason` is what it said."""

    def __init__(self, host: str, reason: str) -> None:
        text = f"Not logged in at {host}: {reason.partition('; log in')[0]}; run: loft login {host} --username NAME"
        super().__init__(text, exitcode.NOT_LOGGED_IN)
        self.reason = reason


def not_logged_in() -> Failure:
    """Return the failure for a missing access key."""
    return Failure("Not logged in; run: loft login URL --username NAME", exitcode.NOT_LOGGED_IN)


def one_line(error: Exception) -> str:
    """Return what an exception says, without line breaks, numbers of errors and paths that the caller names anyway."""
    return " ".join((getattr(error, "strerror", None) or str(error)).split())
