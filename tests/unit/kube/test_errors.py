from __future__ import annotations

import json
from typing import Any

import pytest

from loft.kube import errors
from loft.kube.errors import ApiError, error_from, error_from_status


def status(**fields: Any) -> bytes:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", **fields}).encode()


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (400, "BadRequest", errors.Invalid, False),
        (401, "Unauthorized", errors.Unauthorized, False),
        (403, "Forbidden", errors.Forbidden, False),
        (404, "NotFound", errors.NotFound, False),
        (409, "AlreadyExists", errors.AlreadyExists, False),
        (409, "Conflict", errors.Conflict, True),
        (410, "Expired", errors.Gone, False),
        (410, "Gone", errors.Gone, False),
        (422, "Invalid", errors.Invalid, False),
        (429, "TooManyRequests", errors.TooMany, True),
        (500, "InternalError", ApiError, True),
        (500, "ServerTimeout", errors.Unavailable, True),
        (503, "ServiceUnavailable", errors.Unavailable, True),
        (504, "Timeout", errors.Unavailable, True),
        (418, "Teapot", ApiError, False),
    ],
)
def test_classes(code: int, reason: str, kind: type[ApiError], retryable: bool) -> None:
    error = error_from(code, status(code=code, reason=reason, message="why"), {})
    assert type(error) is kind
    assert (error.status, error.reason, error.message, error.retryable) == (code, reason, "why", retryable)
    assert "why" in str(error)
    again = error_from_status({"code": code, "reason": reason, "message": "why"})
    assert (type(again), again.status) == (kind, code)


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"{", b"[1]", b'{"kind": 7}', b"\xff\xfe", b"null"])
def test_answers_of_others_than_api_servers(body: bytes) -> None:
    error = error_from(502, body, {})
    assert type(error) is errors.Unavailable
    assert error.message and error.retryable


def test_an_endless_answer_is_cut() -> None:
    assert len(error_from(500, b"x" * 10**6, {}).message) == errors.MESSAGE_LENGTH_MAX
    assert len(error_from(500, status(message="x" * 10**6), {}).message) == errors.MESSAGE_LENGTH_MAX


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"Retry-After": "3"}, None, 3.0),
        ({"retry-after": "3"}, None, 3.0),
        ({}, {"retryAfterSeconds": 7}, 7.0),
        ({"Retry-After": "3"}, {"retryAfterSeconds": 7}, 3.0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, None, None),
        ({"Retry-After": "-1"}, None, None),
        ({"Retry-After": "9" * 400}, None, None),
        ({}, None, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], details: dict[str, int] | None, seconds: float | None) -> None:
    assert error_from(429, status(reason="TooManyRequests", details=details), headers).retry_after_s == seconds


def test_a_patch_for_another_object_is_a_conflict() -> None:
    causes = [{"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "field is immutable"}]
    assert type(error_from(422, status(reason="Invalid", details={"causes": causes}), {})) is errors.Conflict
    causes[0]["field"] = "metadata.name"
    assert type(error_from(422, status(reason="Invalid", details={"causes": causes}), {})) is errors.Invalid


@pytest.mark.parametrize("content", [None, 7, "text", {"code": "410"}, []])
def test_an_unreadable_error_event_is_an_error(content: Any) -> None:
    assert error_from_status(content).message
