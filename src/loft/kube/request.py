"""Requests to an API server as values: verb, resource and parameters in; method, path, query and body out.

Pure and light: the asynchronous client and the CLI's synchronous transport send the same requests. This
module imports neither asyncio nor an HTTP library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from loft.core.action import PatchKind, Propagation
from loft.core.resource import Resource

JSON = "application/json"
ANYTHING = "application/json, */*"
"""Accept: JSON where there is a choice; logs and metrics are plain text."""
PATCH_TYPES: dict[str, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
"""Content types by kind of patch. JSON is YAML, so an apply patch is sent as JSON under the YAML type."""

Query = tuple[tuple[str, str], ...]


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, relative to the endpoint's server URL. `path` is percent-encoded already."""

    method: str
    path: str
    query: Query = ()
    body: bytes | None = None
    content_type: str = JSON
    accept: str = ANYTHING

    @property
    def target(self) -> str:
        """Path and query as they go on the request line."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def get(resource: Resource, name: str, namespace: str = "", subresource: str = "") -> Request:
    """Read one object, or a subresource of it."""
    return Request("GET", resource.path(namespace, _named(name), subresource))


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
    """Read one page of a collection; `continue_` of the answer's metadata asks for the next page.

    `limit` 0 asks for everything at once. `resource_version` "0" accepts an answer from the server's cache.
    """
    return Request(
        "GET",
        resource.path(namespace),
        _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            resourceVersion=resource_version,
            **{"continue": continue_},
        ),
    )


def watch(
    resource: Resource,
    namespace: str = "",
    *,
    label_selector: str = "",
    field_selector: str = "",
    resource_version: str = "",
    timeout_s: int = 290,
) -> Request:
    """Watch a collection from a resource version on, with bookmarks; the server ends it after `timeout_s`."""
    return Request(
        "GET",
        resource.path(namespace),
        _query(
            watch="true",
            allowWatchBookmarks="true",
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            timeoutSeconds=str(timeout_s),
        ),
    )


def create(
    resource: Resource, body: dict[str, Any], namespace: str = "", subresource: str = "", dry_run: bool = False
) -> Request:
    """Create an object, or post to a subresource (`binding`, `token`, `eviction`) of the object named in `body`."""
    namespace = namespace or _metadata(body, "namespace")
    name = _named(_metadata(body, "name")) if subresource else ""
    path = resource.path(namespace if resource.namespaced else "", name, subresource)
    return Request("POST", path, _query(dryRun=_all(dry_run)), _json(body))


def update(
    resource: Resource, body: dict[str, Any], namespace: str = "", subresource: str = "", dry_run: bool = False
) -> Request:
    """Replace the object named in `body`; its `metadata.resourceVersion` makes the request conditional."""
    namespace = namespace or _metadata(body, "namespace")
    path = resource.path(namespace, _named(_metadata(body, "name")), subresource)
    return Request("PUT", path, _query(dryRun=_all(dry_run)), _json(body))


def patch(  # noqa: PLR0913 - the parameters of the API
    resource: Resource,
    name: str,
    patch: dict[str, Any] | Sequence[Any],
    namespace: str = "",
    kind: PatchKind = "merge",
    subresource: str = "",
    manager: str = "",
    force: bool = False,
    dry_run: bool = False,
) -> Request:
    """Change an object. `force` is for kind "apply" only, which also needs `manager`.

    Raises: ValueError when the API server could not accept the combination.
    """
    if kind == "apply" and not manager:
        raise ValueError("server-side apply needs a field manager")
    if force and kind != "apply":
        raise ValueError(f"force is only for server-side apply, not for a {kind} patch")
    query = _query(fieldManager=manager, force="true" if force else "", dryRun=_all(dry_run))
    path = resource.path(namespace, _named(name), subresource)
    return Request("PATCH", path, query, _json(patch), PATCH_TYPES[kind])


def apply(
    resource: Resource,
    body: dict[str, Any],
    *,
    manager: str,
    force: bool = True,
    subresource: str = "",
    dry_run: bool = False,
) -> Request:
    """Server-side apply of `body` (namespace and name are in its metadata; apiVersion and kind are filled in)."""
    name, namespace = _named(_metadata(body, "name")), _metadata(body, "namespace")
    whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    return patch(resource, name, whole, namespace, "apply", subresource, manager, force, dry_run)


def delete(
    resource: Resource,
    name: str,
    namespace: str = "",
    uid: str = "",
    grace_s: int | None = None,
    propagation: Propagation = "",
    dry_run: bool = False,
) -> Request:
    """Delete an object; with `uid` only the one that has it (Conflict otherwise)."""
    options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if uid:
        options["preconditions"] = {"uid": uid}
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    if propagation:
        options["propagationPolicy"] = propagation
    if dry_run:
        options["dryRun"] = ["All"]
    return Request("DELETE", resource.path(namespace, _named(name)), (), _json(options))


def _query(**parameters: str) -> Query:
    return tuple((name, value) for name, value in parameters.items() if value)


def _all(dry_run: bool) -> str:
    return "All" if dry_run else ""


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _named(name: str) -> str:
    # An empty name would turn a request for one object into one for its whole collection.
    if not name:
        raise ValueError("the object has no name")
    return name


def _metadata(body: dict[str, Any], field: str) -> str:
    value = (body.get("metadata") or {}).get(field) or ""
    if not isinstance(value, str):
        raise ValueError(f"metadata.{field} is not text: {value!r}")
    return value
