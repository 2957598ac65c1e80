"""What an API server answers when it does not do what was asked, as one tree of exceptions.

The class says what the caller may do about it; the text is the API server's own. Pure: shared with the CLI.
Source: Kubernetes API conventions, "Response Status Kind".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

MESSAGE_LENGTH_MAX = 4096


class ApiError(Exception):
    """A request failed. `status` is the HTTP status, 0 when there was no answer at all."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after_s = retry_after_s

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later without anybody changing it."""
        return isinstance(self, Conflict | TooMany | Unavailable) or self.status >= 500

    def __str__(self) -> str:
        return f"{self.message} ({self.reason or 'no answer'})"


class NotFound(ApiError):
    """404: no such object, resource or path."""


class AlreadyExists(ApiError):
    """409 on create: the name is taken."""


class Conflict(ApiError):
    """409: the object changed, another field manager owns a field, or a precondition (uid) does not hold.

    Also a 422 because of `metadata.uid`: that is how the API server says of a patch that it is for another object.
    """


class Gone(ApiError):
    """410: the resource version is compacted away, or a continue token expired; list again."""


class Forbidden(ApiError):
    """403: known, but not allowed."""


class Unauthorized(ApiError):
    """401: the API server does not know who asks."""


class Invalid(ApiError):
    """422 or 400: the object or the request breaks a rule; trying again changes nothing."""


class TooMany(ApiError):
    """429: asked to wait; `retry_after_s` says how long where the server did."""


class Unavailable(ApiError):
    """No usable answer: transport errors, time-outs, 502, 503, 504."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooMany,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_BY_REASON: dict[str, type[ApiError]] = {
    "AlreadyExists": AlreadyExists,
    "Expired": Gone,
    "Gone": Gone,
    # The server's own time-out comes as 504 or, from a mutating request, as 500.
    "Timeout": Unavailable,
    "ServerTimeout": Unavailable,
}


class _Status(msgspec.Struct):
    """The fields of a metav1.Status that matter; all of them may be missing in an answer of a proxy."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: dict[str, Any] | None = None


def error_from(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """Return the exception for an answer with an HTTP status of 400 or more.

    `headers` are looked up by their usual spelling and in lower case. A body that is not a Status (from a proxy on
    the way, or an API server not yet ready) becomes the message, cut to a bound.
    """
    try:
        answer = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = _Status()
    if answer.kind != "Status":
        text = body[:MESSAGE_LENGTH_MAX].decode("utf-8", "replace").strip()
        answer = _Status(message=text or f"the server answered with HTTP status {status}")
    retry_after_s = _seconds(headers.get("Retry-After") or headers.get("retry-after"))
    return _build(status, answer, retry_after_s)


def error_from_status(status: Any) -> ApiError:
    """Return the exception for a Status object inside a stream (a watch event of type ERROR)."""
    try:
        answer = msgspec.convert(status, _Status)
    except msgspec.ValidationError:
        answer = _Status(message="the watch ended with an error that cannot be read")
    return _build(answer.code or 500, answer, None)


def unreachable(server: str, cause: object) -> Unavailable:
    """Return the exception for a request that got no answer (`cause` says why, in words)."""
    return Unavailable(0, "Unreachable", f"cannot reach {server}: {cause}")


def _build(status: int, answer: _Status, retry_after_s: float | None) -> ApiError:
    kind = _BY_REASON.get(answer.reason) or _BY_STATUS.get(status, ApiError)
    details = answer.details or {}
    if kind is Invalid and _is_about_uid(details):
        kind = Conflict
    if retry_after_s is None and isinstance(seconds := details.get("retryAfterSeconds"), int) and seconds > 0:
        retry_after_s = float(seconds)
    message = answer.message[:MESSAGE_LENGTH_MAX] or f"the server answered with HTTP status {status}"
    return kind(status, answer.reason or _REASONS.get(status, ""), message, details, retry_after_s)


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Gone",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def _is_about_uid(details: dict[str, Any]) -> bool:
    """Whether a refusal says that the object is another one: patches name the uid they expect."""
    causes = details.get("causes")
    return isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("field") == "metadata.uid" for cause in causes
    )


def _seconds(text: str | None) -> float | None:
    """Read Retry-After; the API server only uses seconds (RFC 9110 §10.2.3 also allows a date, ignored here)."""
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else None
