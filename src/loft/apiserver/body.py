"""Bodies of requests: read within bounds, decoded, and checked against the resource before any store sees them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request

from loft.api.meta import Kind
from loft.api.schema import Schema
from loft.apiserver.call import Call, Change, Object
from loft.apiserver.fields import unknown_fields
from loft.apiserver.refusal import Cause, bad_request, invalid, unsupported_media
from loft.core import yamltext
from loft.core.resource import Resource
from loft.kube.errors import ApiError
from loft.kube.request import PATCH_TYPES

BODY_BYTES_MAX = 3 * 1024 * 1024
"""As in the API server itself."""
YAML_BYTES_MAX = 256 * 1024
"""YAML is slow to read; clients that send more use JSON."""

JSON_TYPES = ("application/json", "application/yaml")
_KINDS = {media: kind for kind, media in PATCH_TYPES.items() if kind != "strategic"}


async def read(request: Request) -> bytes:
    """Return the body. Raises: ApiError 413 as soon as it is too long."""
    declared = request.headers.get("content-length", "0")
    parts, size = [], int(declared) if declared.isdigit() else 0
    if size <= BODY_BYTES_MAX:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > BODY_BYTES_MAX:
                break
            parts.append(part)
    if size > BODY_BYTES_MAX:
        raise ApiError(413, "RequestEntityTooLarge", f"the body is larger than {BODY_BYTES_MAX} bytes")
    return b"".join(parts)


def media_type(request: Request) -> str:
    """Return the Content-Type without parameters; JSON when there is none."""
    return request.headers.get("content-type", "application/json").split(";")[0].strip().lower()


def decode_object(data: bytes, media: str) -> Object:
    """Return the object in a body of type JSON or YAML. Raises: ApiError 415, 400."""
    if media not in JSON_TYPES:
        raise unsupported_media(media, JSON_TYPES)
    return _mapping(_json(data) if media == "application/json" else _yaml(data))


def decode_change(data: bytes, media: str) -> Change:
    """Return the patch in a body. Raises: ApiError 415, 400."""
    kind = _KINDS.get(media)
    if kind is None:
        raise unsupported_media(media, tuple(_KINDS))
    if kind == "apply":
        return Change(kind, _mapping(_yaml(data)))
    content = _json(data)
    if kind == "merge":
        return Change(kind, _mapping(content))
    if not isinstance(content, list) or not all(isinstance(operation, dict) for operation in content):
        raise bad_request("a JSON patch is a list of operations")
    return Change(kind, content)


def check_object(call: Call, resource: Resource, kind: type[Kind], obj: Object) -> None:
    """Check what every object must have, and the types of its fields. Raises: ApiError 400 or 422."""
    if obj.get("apiVersion", resource.api_version) != resource.api_version:
        raise bad_request(f"apiVersion {obj.get('apiVersion')!r} is not that of this resource: {resource.api_version}")
    expected = kind.__name__ if call.subresource else resource.kind
    if obj.get("kind", expected) != expected:
        raise bad_request(f"kind {obj.get('kind')!r} is not that of this resource: {expected}")
    metadata = obj.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata is not a mapping")
    for field, given in (("name", call.name), ("namespace", call.namespace)):
        if given and metadata.setdefault(field, given) != given:
            raise bad_request(f"metadata.{field} {metadata[field]!r} does not match the URL ({given!r})")
    if metadata.get("namespace") and not call.namespace:
        raise bad_request("metadata.namespace does not match the URL, which names no namespace")
    try:
        msgspec.convert(without_nulls(obj), kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        name = str(metadata.get("name") or "")
        raise invalid(resource, name, Cause(place.rstrip("`") or "object", message, "FieldValueTypeInvalid")) from None


def check_fields(call: Call, schema: Schema, obj: Any, kind: str) -> list[str]:
    """Return warnings about unknown fields. Raises: ApiError 400 when validation is Strict."""
    if call.field_validation == "Ignore":
        return []
    unknown = [f'unknown field "{path}"' for path in unknown_fields(schema, obj)]
    if unknown and call.field_validation == "Strict":
        raise bad_request(f"{kind} cannot be handled as a {kind}: strict decoding error: {', '.join(unknown)}")
    return unknown


def without_nulls(value: Any) -> Any:
    """Return a value without null fields, which mean "not set" in the Kubernetes API."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value


def _mapping(value: Any) -> Object:
    if not isinstance(value, dict):
        raise bad_request("the body is not an object")
    return value


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not JSON: {error}") from None


def _yaml(data: bytes) -> Any:
    """Decode YAML; what is JSON is read as JSON. Aliases are refused: a few bytes can stand for gigabytes."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    if len(data) > YAML_BYTES_MAX:
        raise ApiError(413, "RequestEntityTooLarge", f"YAML larger than {YAML_BYTES_MAX} bytes; send JSON")
    try:
        # Through JSON, so that only what JSON can say comes through (no dates, no binary).
        return msgspec.json.decode(msgspec.json.encode(yamltext.load(data)))
    except (TypeError, ValueError, RecursionError) as error:
        raise bad_request(f"the body is not YAML: {error}") from None
