"""What can go wrong at an API server, by whose fault and what helps: one tree, foreign exceptions never leak.

Source of reasons and codes: Kubernetes API conventions, "HTTP Status codes".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An API server (or the way to it) refused; `status` is 0 when no answer came."""

    def __init__(
        self, status: int, reason: str, message: str, details: dict[str, Any] | None = None, retry_after_s: float = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}" if self.status else self.message


class NotFound(ApiError):
    """The object or resource does not exist."""


class AlreadyExists(ApiError):
    """An object of that name exists."""


class Conflict(ApiError):
    """The object changed meanwhile, a precondition failed, or another manager owns the field: look again."""


class Gone(ApiError):
    """The resourceVersion is too old: list again."""


class Forbidden(ApiError):
    """The caller may not do this."""


class Unauthorized(ApiError):
    """The credential is missing or not valid."""


class Invalid(ApiError):
    """The object breaks a rule; trying again does not help."""


class TooMany(ApiError):
    """The server asks to come back after `retry_after_s`."""


class Unavailable(ApiError):
    """No answer, or one that says the server cannot work now: try again."""


_CLASSES: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooMany,
    500: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_from(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """Return the error for an answer with a status of 400 and above (or of an ERROR watch event)."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {}
    reason = str(answer.get("reason") or "")
    message = str(answer.get("message") or body[:200].decode(errors="replace") or f"HTTP {status}")
    details = answer.get("details") if isinstance(answer.get("details"), dict) else {}
    wait = headers.get("Retry-After", "")
    kind = _CLASSES.get(status, ApiError)
    if status == 409 and reason == "AlreadyExists":
        kind = AlreadyExists
    if reason in ("Expired", "Gone"):
        kind = Gone
    return kind(status, reason, message, details, float(wait) if wait.isdigit() else 0.0)
