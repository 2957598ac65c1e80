"""Answers of the platform's pages: JSON, errors as Status objects."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, code: int, reason: str, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


def answer(value: Any, code: int = 200) -> Response:
    """Return JSON that nobody caches."""
    return Response(msgspec.json.encode(value), code, NO_STORE, "application/json")


def refusal(error: Refused) -> Response:
    """Return an error as a Status object."""
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": error.reason,
        "message": error.message,
        "code": error.code,
    }
    response = answer(status, error.code)
    if error.retry_after_s:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return response


async def body(request: Request, most: int) -> bytes:
    """Read a bounded body. Raises: Refused."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise Refused(413, "RequestEntityTooLarge", f"the request is larger than {most} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def client_address(request: Request) -> str:
    """Return the address that our Envoy saw: the last one, which it has added itself."""
    return request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() or "unknown"
