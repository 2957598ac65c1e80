"""Requests to an API server as values: method, path, query, body. Pure, so that every client can share it.

Source: Kubernetes API concepts (verbs, patch types, server-side apply, watch with bookmarks).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from loft.core.resource import Resource

Query = tuple[tuple[str, str], ...]

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
JSON = "application/json"

_encode = msgspec.json.Encoder().encode


class Request(msgspec.Struct, frozen=True):
    """One request; `path` starts with a slash and is already quoted."""

    method: str
    path: str
    query: Query = ()
    body: bytes | None = None
    content_type: str = JSON

    @property
    def target(self) -> str:
        """Path and query as sent."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def _query(**values: str) -> Query:
    return tuple((name, value) for name, value in values.items() if value)


def get(resource: Resource, name: str, namespace: str = "", subresource: str = "") -> Request:
    """Read one object."""
    return Request("GET", resource.path(namespace, name, subresource))


def list_(
    resource: Resource,
    namespace: str = "",
    *,
    label_selector: str = "",
    field_selector: str = "",
    limit: int = 500,
    continue_: str = "",
    resource_version: str = "",
) -> Request:
    """Read one page of a list."""
    query = _query(
        labelSelector=label_selector,
        fieldSelector=field_selector,
        limit=str(limit) if limit else "",
        resourceVersion=resource_version,
    )
    return Request("GET", resource.path(namespace), query + _query(**{"continue": continue_}))


def watch(
    resource: Resource,
    namespace: str = "",
    *,
    label_selector: str = "",
    field_selector: str = "",
    resource_version: str = "",
    timeout_s: int = 290,
) -> Request:
    """Follow changes from a resourceVersion; the server ends the watch after `timeout_s`."""
    query = _query(
        watch="1",
        allowWatchBookmarks="true",
        labelSelector=label_selector,
        fieldSelector=field_selector,
        resourceVersion=resource_version,
        timeoutSeconds=str(timeout_s),
    )
    return Request("GET", resource.path(namespace), query)


def create(
    resource: Resource, body: dict[str, Any], namespace: str = "", subresource: str = "", *, dry_run: bool = False
) -> Request:
    """Create an object, or post to a subresource of the object that `body` names."""
    metadata = body.get("metadata", {})
    namespace = namespace or metadata.get("namespace", "")
    name = metadata.get("name", "") if subresource else ""
    return Request(
        "POST", resource.path(namespace, name, subresource), _query(dryRun="All" if dry_run else ""), _encode(body)
    )


def update(resource: Resource, body: dict[str, Any], subresource: str = "") -> Request:
    """Replace an object; its resourceVersion, when set, must still be current."""
    metadata = body["metadata"]
    path = resource.path(metadata.get("namespace", ""), metadata["name"], subresource)
    return Request("PUT", path, (), _encode(body))


class PatchOptions(msgspec.Struct, frozen=True):
    """How to patch."""

    kind: str = "merge"
    subresource: str = ""
    manager: str = ""
    force: bool = False


DEFAULT_PATCH = PatchOptions()


def patch(
    resource: Resource, name: str, change: Any, namespace: str = "", options: PatchOptions = DEFAULT_PATCH
) -> Request:
    """Change an object by one of the PATCH_TYPES."""
    query = _query(fieldManager=options.manager, force="true" if options.force else "")
    path = resource.path(namespace, name, options.subresource)
    return Request("PATCH", path, query, _encode(change), PATCH_TYPES[options.kind])


def apply(
    resource: Resource, body: dict[str, Any], *, manager: str, force: bool = True, subresource: str = ""
) -> Request:
    """Server-side apply: `manager` owns exactly the fields in `body`."""
    metadata = body["metadata"]
    options = PatchOptions("apply", subresource, manager, force)
    return patch(resource, metadata["name"], body, metadata.get("namespace", ""), options)


def delete(
    resource: Resource,
    name: str,
    namespace: str = "",
    *,
    uid: str = "",
    grace_s: int | None = None,
    propagation: str = "",
) -> Request:
    """Delete an object; with a uid only if it is still that object."""
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if uid:
        options["preconditions"] = {"uid": uid}
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    if propagation:
        options["propagationPolicy"] = propagation
    return Request("DELETE", resource.path(namespace, name), (), _encode(options))
