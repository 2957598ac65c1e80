"""Refusals as Kubernetes Status objects, which kubectl and client libraries print as they should."""

from __future__ import annotations

from typing import Any

import msgspec

# metav1.StatusReason values that go with HTTP codes (apimachinery, meta/v1/types.go).
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def status(code: int, message: str) -> dict[str, Any]:
    """Return the Status object for a refused request."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS[code],
        "code": code,
    }


def status_text(code: int, message: str) -> str:
    """Return the Status object as JSON."""
    return msgspec.json.encode(status(code, message)).decode()


def warning(message: str) -> str:
    """Return the value of a Warning header with the message (RFC 7234 section 5.5; code 299 as Kubernetes does)."""
    printable = "".join(character if " " <= character <= "~" else "?" for character in message)
    escaped = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 loft "{escaped}"'
