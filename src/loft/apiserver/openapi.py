"""OpenAPI documents of a group, v2 and v3: what `kubectl explain`, apply, diff and client generators read. Pure.

Source: Kubernetes "OpenAPI" concepts; extensions x-kubernetes-group-version-kind and x-kubernetes-action.
No strategic merge patch is offered: as for custom resources, clients then use JSON merge patches.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from loft.api.schema import Schema
from loft.apiserver.declaration import Declaration, Group

Document = dict[str, Any]
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
BODY_TYPES = ("application/json", "application/yaml")

_STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_TIME: Schema = {"type": "string", "format": "date-time"}
_METADATA: Schema = {
    "type": "object",
    "description": "What every object has: its name, labels and what the server keeps about it.",
    "properties": {
        "annotations": _STRINGS | {"description": "Free text by key, for tools; not used to select objects."},
        "creationTimestamp": _TIME | {"description": "When the object was made; set by the server."},
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64", "description": "Seconds left to end."},
        "deletionTimestamp": _TIME | {"description": "When deletion was asked for; set by the server."},
        "finalizers": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Who has still to clean up before the object goes away.",
        },
        "generateName": {"type": "string", "description": "Prefix of a name that the server completes."},
        "generation": {"type": "integer", "format": "int64", "description": "Counts changes of the desired state."},
        "labels": _STRINGS | {"description": "Words by key, by which objects are selected."},
        "managedFields": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Which client set which field (server-side apply).",
        },
        "name": {"type": "string", "description": "Unique name in its scope; cannot change."},
        "namespace": {"type": "string", "description": "Namespace of the object; cannot change."},
        "ownerReferences": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Objects with which this one is deleted.",
        },
        "resourceVersion": {"type": "string", "description": "Opaque version; changes with every write."},
        "selfLink": {"type": "string", "description": "Not used any more."},
        "uid": {"type": "string", "description": "Identity in time and space; set by the server."},
    },
}

_QUERY = {
    "dryRun": "All: check everything, store nothing.",
    "fieldManager": "Name of the client that makes the change.",
    "fieldValidation": "What to do about unknown fields: Ignore, Warn or Strict.",
}
_LIST_QUERY = {
    "labelSelector": "Labels the objects must have.",
    "fieldSelector": "Fields the objects must have.",
    "continue": "Where the next chunk begins, from the last answer.",
    "resourceVersion": "Version that the answer must have at least.",
    "resourceVersionMatch": "How resourceVersion is meant: Exact or NotOlderThan.",
}


def schema_name(group: str, version: str, kind: str) -> str:
    """Return the name of a kind among the schemas, such as sh.loft.cluster.v1.Space."""
    return ".".join([*reversed(group.split(".")), version, kind])


def v3(group: Group) -> Document:
    """Return the OpenAPI v3 document of one group version."""
    return {
        "openapi": "3.0.0",
        "info": {"title": group.name, "version": group.version},
        "paths": _paths(group, _Three()),
        "components": {"schemas": _schemas(group, "#/components/schemas/")},
    }


def v3_index(groups: tuple[Group, ...]) -> Document:
    """Return /openapi/v3; the hash in each URL changes with the document, so that clients may cache it for ever."""
    paths = {}
    for group in groups:
        path = f"apis/{group.name}/{group.version}"
        digest = hashlib.sha512(msgspec.json.encode(v3(group), order="deterministic")).hexdigest().upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def v2(groups: tuple[Group, ...], version: str) -> Document:
    """Return the OpenAPI v2 document of all groups."""
    paths: Document = {}
    definitions: Document = {}
    for group in groups:
        paths |= _paths(group, _Two())
        definitions |= _schemas(group, "#/definitions/")
    return {
        "swagger": "2.0",
        "info": {"title": "loft", "version": version},
        "paths": paths,
        "definitions": definitions,
    }


V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""The only form in which kubectl asks for the v2 document."""
V2_PROTOBUF_TYPE = V2_PROTOBUF.replace("@", ".")
"""As it is answered: an @ has no place in a media type."""


def v2_protobuf(version: str) -> bytes:
    """Return a v2 document without paths, as protobuf (gnostic's openapi.v2.Document: swagger 1, info 2, paths 8).

    kubectl asks for it before it creates an object of a kind that has no patch (an access key, say), and gives up
    when it cannot have it. Finding nothing there it leaves the validation to us.
    """
    info = _bytes_field(1, b"loft") + _bytes_field(2, version.encode())
    return _bytes_field(1, b"2.0") + _bytes_field(2, info) + _bytes_field(8, b"")


def _bytes_field(number: int, content: bytes) -> bytes:
    assert number < 16 and len(content) < 128, "one byte each"
    return bytes((number << 3 | 2, len(content))) + content


def _schemas(group: Group, prefix: str) -> Document:
    metadata = {"description": "Standard object metadata.", "allOf": [{"$ref": prefix + OBJECT_META}]}
    if prefix.startswith("#/definitions"):
        metadata = {"$ref": prefix + OBJECT_META}
    schemas: Document = {OBJECT_META: _METADATA}
    for declaration in group.declarations:
        for kind, schema in _kinds(declaration).items():
            name = schema_name(group.name, group.version, kind)
            gvk = {"group": group.name, "version": group.version, "kind": kind}
            full = dict(schema, **{"x-kubernetes-group-version-kind": [gvk]})
            if "metadata" in full["properties"]:
                full["properties"] = full["properties"] | {"metadata": metadata}
            schemas[name] = full
            if kind == declaration.resource.kind and "list" in declaration.verbs:
                schemas[f"{name}List"] = _list_schema(name, kind, prefix, gvk)
    return schemas


def _kinds(declaration: Declaration) -> dict[str, Schema]:
    kinds = {declaration.resource.kind: declaration.object_schema()}
    for sub in declaration.subresources:
        kinds.setdefault(sub.kind.__name__, declaration.object_schema(sub.name))
    return kinds


def _list_schema(name: str, kind: str, prefix: str, gvk: Document) -> Schema:
    return {
        "type": "object",
        "description": f"A list of {kind} objects.",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "items": {"type": "array", "items": {"$ref": prefix + name}},
        },
        "x-kubernetes-group-version-kind": [gvk | {"kind": f"{kind}List"}],
    }


class _Three:
    """How version 3 writes an operation."""

    prefix = "#/components/schemas/"

    def parameter(self, name: str, text: str, where: str, kind: str = "string") -> Document:
        found: Document = {
            "name": name,
            "in": where,
            "description": text,
            "schema": {"type": kind, "uniqueItems": True},
        }
        return found | ({"required": True} if where == "path" else {})

    def answer(self, schema: str) -> Document:
        return {"description": "OK", "content": {"application/json": {"schema": {"$ref": self.prefix + schema}}}}

    def body(self, operation: Document, schema: str, types: tuple[str, ...]) -> None:
        reference: Schema = {"type": "object"} if types is PATCH_TYPES else {"$ref": self.prefix + schema}
        operation["requestBody"] = {"required": True, "content": {media: {"schema": reference} for media in types}}


class _Two:
    """How version 2 writes an operation."""

    prefix = "#/definitions/"

    def parameter(self, name: str, text: str, where: str, kind: str = "string") -> Document:
        found: Document = {"name": name, "in": where, "description": text, "type": kind, "uniqueItems": True}
        return found | ({"required": True} if where == "path" else {})

    def answer(self, schema: str) -> Document:
        return {"description": "OK", "schema": {"$ref": self.prefix + schema}}

    def body(self, operation: Document, schema: str, types: tuple[str, ...]) -> None:
        operation["consumes"] = list(types)
        reference: Schema = {"type": "object"} if types is PATCH_TYPES else {"$ref": self.prefix + schema}
        operation["parameters"].append({"name": "body", "in": "body", "required": True, "schema": reference})


_ON_COLLECTION = {"list": "get", "create": "post"}
_ON_OBJECT = {"get": "get", "update": "put", "patch": "patch", "delete": "delete", "create": "post"}


def _paths(group: Group, dialect: _Three | _Two) -> Document:
    paths: Document = {}
    for declaration in group.declarations:
        resource = declaration.resource
        base = f"/apis/{group.name}/{group.version}"
        scoped = f"{base}/namespaces/{{namespace}}" if resource.namespaced else base
        kind = resource.kind
        collection = {verb: method for verb, method in _ON_COLLECTION.items() if verb in declaration.verbs}
        single = [verb for verb in declaration.verbs if verb in _ON_OBJECT and verb != "create"]
        _put(paths, f"{scoped}/{resource.plural}", [(m, v, kind) for v, m in collection.items()], group, dialect)
        if resource.namespaced and "list" in collection:
            _put(paths, f"{base}/{resource.plural}", [("get", "list", kind)], group, dialect)
        one = f"{scoped}/{resource.plural}/{{name}}"
        _put(paths, one, [(_ON_OBJECT[verb], verb, kind) for verb in single], group, dialect)
        for sub in declaration.subresources:
            entries = [(_ON_OBJECT[verb], verb, sub.kind.__name__) for verb in sub.verbs]
            _put(paths, f"{one}/{sub.name}", entries, group, dialect)
    return paths


def _put(paths: Document, path: str, entries: list[tuple[str, str, str]], group: Group, dialect: _Three | _Two) -> None:
    if not entries:
        return
    item: Document = {}
    for method, verb, kind in entries:
        item[method] = _operation(path, verb, kind, group, dialect)
    names = [name for name in ("namespace", "name") if f"{{{name}}}" in path]
    if names:
        item["parameters"] = [dialect.parameter(name, f"{name} of the object", "path") for name in names]
    paths[path] = item


def _operation(path: str, verb: str, kind: str, group: Group, dialect: _Three | _Two) -> Document:
    name = schema_name(group.name, group.version, kind)
    queries = _LIST_QUERY if verb == "list" else {} if verb == "get" else _QUERY
    words = "".join(part.strip("{}").title() for part in path.split("/")[4:])
    operation: Document = {
        "operationId": f"{verb}{schema_name(group.name, group.version, words)}".replace(".", ""),
        "tags": [f"{group.name}_{group.version}"],
        "parameters": [dialect.parameter(query, text, "query") for query, text in queries.items()],
        "responses": {"200": dialect.answer(f"{name}List" if verb == "list" else name)},
        "x-kubernetes-action": {"create": "post", "update": "put"}.get(verb, verb),
        "x-kubernetes-group-version-kind": {"group": group.name, "version": group.version, "kind": kind},
    }
    if verb == "list":
        operation["parameters"] += [
            dialect.parameter("limit", "Largest number of objects in the answer.", "query", "integer"),
            dialect.parameter("watch", "Follow changes instead.", "query", "boolean"),
        ]
    if verb == "patch":
        operation["parameters"].append(
            dialect.parameter("force", "Take over fields that others manage (apply only).", "query", "boolean")
        )
        dialect.body(operation, name, PATCH_TYPES)
    elif verb in ("create", "update"):
        dialect.body(operation, name, BODY_TYPES)
    return operation
