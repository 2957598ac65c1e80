"""OpenAPI schemas of our kinds, read off the Structs: one source for CRDs and for the aggregated APIs.

The description of a field is the docstring under it, so that `kubectl explain` and the code say the same.
Source of the dialect: Kubernetes "structural schema" (OpenAPI v3 without $ref, anyOf or additional logic).
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
import typing
from typing import Any

import msgspec

from loft.api.meta import Kind, ObjectMeta

Schema = dict[str, Any]

_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
}


def schema_of(kind: type[Kind], *, metadata: Schema | None = None) -> Schema:
    """Return the schema of an object of this kind, with apiVersion, kind and metadata.

    Args:
        kind: a Struct with `metadata` (and usually `spec` and `status`).
        metadata: what to say about metadata; a bare object by default, as CRDs demand.
    """
    properties: Schema = {
        "apiVersion": {"type": "string", "description": "Group and version of the schema of this object."},
        "kind": {"type": "string", "description": "What this object is, in CamelCase."},
        "metadata": metadata or {"type": "object"},
    }
    for field in msgspec.structs.fields(kind):
        if field.name != "metadata":
            properties[field.encode_name] = _field(kind, field.name)
    return {"type": "object", "description": _document(kind), "properties": properties}


def struct_schema(kind: type[msgspec.Struct]) -> Schema:
    """Return the schema of a Struct without object metadata."""
    properties = {field.encode_name: _field(kind, field.name) for field in msgspec.structs.fields(kind)}
    required = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
    schema: Schema = {"type": "object", "description": _document(kind), "properties": properties}
    return schema | ({"required": required} if required else {})


def at(schema: Schema, path: str) -> Schema:
    """Return the part of a schema that a path such as `spec.rules[].verbs` names; it may be changed.

    Raises: KeyError when there is no such field, so that a rule cannot outlive its field.
    """
    for step in filter(None, path.split(".")):
        name = step.removesuffix("[]")
        schema = schema["properties"][name]
        if step.endswith("[]"):
            schema = schema["items"]
    return schema


def _field(kind: type[msgspec.Struct], name: str) -> Schema:
    schema = _type(_hints(kind)[name])
    description = _field_documents(kind).get(name)
    # What is said about the field is more telling than what is said about its type.
    return _described(description) | schema | _described(description)


def _described(text: str | None) -> Schema:
    return {"description": text} if text else {}


def _type(hint: Any) -> Schema:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _type(inner)
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    if origin in (list, tuple):
        return {"type": "array", "items": _type(arguments[0])}
    if origin is dict:
        if arguments[1] is Any:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {"type": "object", "additionalProperties": _type(arguments[1])}
    if hint is ObjectMeta:
        return {"type": "object"}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return struct_schema(hint)
    raise TypeError(f"{hint} has no schema")


@functools.cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _document(kind: type[msgspec.Struct]) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


@functools.cache
def _field_documents(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstrings under fields, of base Structs too: Python itself does not keep them."""
    documents: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base in (object, msgspec.Struct, Kind) or not issubclass(base, msgspec.Struct):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(value=ast.Constant(value=str(document))):
                        documents[field.target.id] = inspect.cleandoc(document)
    return documents
