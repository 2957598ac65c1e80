"""Refusals as Kubernetes Status objects, each naming the field at fault and what to do.

Source: Kubernetes API conventions, "Response Status Kind".
"""

from __future__ import annotations

from typing import Any

import msgspec

from loft.core.resource import Resource
from loft.kube.errors import AlreadyExists, ApiError, Forbidden, Invalid, NotFound


class Cause(msgspec.Struct, frozen=True):
    """What is wrong with one field; `reason` as in metav1.CauseType."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


def status_of(error: ApiError) -> dict[str, Any]:
    """Return the Status object for an error; one without an answer of a server becomes a 503."""
    code = error.status or 503
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason if error.status and error.reason else _REASONS.get(code, "InternalError"),
    }
    details = dict(error.details)
    if error.retry_after_s:
        details["retryAfterSeconds"] = int(error.retry_after_s)
    if details:
        body["details"] = details
    return body | {"code": code}


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
}


def qualified(resource: Resource) -> str:
    """Return `plural.group`, as messages name a resource."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _details(resource: Resource, name: str) -> dict[str, Any]:
    return {"name": name, "group": resource.group, "kind": resource.plural}


def bad_request(message: str) -> ApiError:
    """The request itself is malformed."""
    return ApiError(400, "BadRequest", message)


def not_found(resource: Resource, name: str) -> NotFound:
    """There is no such object, or the caller may not know of it."""
    return NotFound(404, "NotFound", f'{qualified(resource)} "{name}" not found', _details(resource, name))


def already_exists(resource: Resource, name: str, advice: str) -> AlreadyExists:
    """The name is taken; `advice` says what to do."""
    message = f'{qualified(resource)} "{name}" already exists: {advice}'
    return AlreadyExists(409, "AlreadyExists", message, _details(resource, name))


def invalid(resource: Resource, name: str, *causes: Cause) -> Invalid:
    """The object breaks rules; every cause names its field."""
    listed = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    details = _details(resource, name) | {
        "kind": resource.kind,
        "causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes],
    }
    return Invalid(422, "Invalid", f'{resource.kind}.{resource.group} "{name}" is invalid: {listed}', details)


def forbidden(resource: Resource, name: str, message: str) -> Forbidden:
    """The caller may not do this."""
    named = f'{qualified(resource)} "{name}"' if name else qualified(resource)
    return Forbidden(403, "Forbidden", f"{named} is forbidden: {message}", _details(resource, name))


def method_not_allowed(resource: Resource, verb: str) -> ApiError:
    """The resource has no such verb."""
    message = f"{verb} is not supported on resources of kind {qualified(resource)!r}"
    return ApiError(405, "MethodNotAllowed", message, {"group": resource.group, "kind": resource.plural})


def unsupported_media(given: str, accepted: tuple[str, ...]) -> ApiError:
    """The body's type is not understood."""
    message = f"the body of the request was in an unknown format ({given}); accepted media types: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable(given: str) -> ApiError:
    """No form of the answer fits the Accept header."""
    return ApiError(406, "NotAcceptable", f"only application/json is served, not {given}")
