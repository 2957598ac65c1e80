"""Requests to the resource that backs one of ours: options carried over, answers decoded, watches as events.

Versions, selectors, chunks, dry-run, conflicts and bookmarks are the API server's own; nothing is kept here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec

from loft.apiserver.call import Call, Change, Event, ListOptions, Object, Page, WatchOptions
from loft.core.resource import Resource
from loft.kube.client import Client
from loft.kube.errors import ApiError
from loft.kube.lines import Lines, LineTooLong
from loft.kube.request import PATCH_TYPES, Query, Request

SILENCE_S = 180.0
_encode = msgspec.json.Encoder().encode
_event = msgspec.json.Decoder(Event)


class Backing:
    """One resource at the API server behind; `selector` limits it to the objects that are ours."""

    def __init__(self, client: Client, resource: Resource, *, selector: str = "") -> None:
        self.client = client
        self.resource = resource
        self._selector = selector

    async def get(self, call: Call, *, resource_version: str = "") -> Object:
        """Read one object or subresource."""
        query = _query(resourceVersion=resource_version)
        return await self._send("GET", call, query)

    async def list(self, call: Call, options: ListOptions) -> Page:
        """Read a chunk."""
        query = self._selectors(options.label_selector, options.field_selector) + _query(
            limit=str(options.limit) if options.limit else "",
            resourceVersion=options.resource_version,
            resourceVersionMatch=options.resource_version_match,
            **{"continue": options.continue_},
        )
        answer = await self.client.call(Request("GET", self.resource.path(call.namespace), query))
        metadata = answer.get("metadata") or {}
        return Page(
            items=answer.get("items") or [],
            resource_version=metadata.get("resourceVersion") or "",
            continue_=metadata.get("continue") or "",
            remaining=metadata.get("remainingItemCount"),
        )

    async def watch(self, call: Call, options: WatchOptions) -> AsyncIterator[Event]:
        """Yield events as they come; an ERROR event is yielded like the others.

        Bookmarks are always asked for, about one a minute: silence then means a dead connection, and the watch ends.
        """
        initial = options.send_initial_events
        query = self._selectors(options.label_selector, options.field_selector) + _query(
            watch="1",
            allowWatchBookmarks="true",
            resourceVersion=options.resource_version,
            resourceVersionMatch=options.resource_version_match,
            timeoutSeconds=str(options.timeout_s) if options.timeout_s else "",
            sendInitialEvents="" if initial is None else str(initial).lower(),
        )
        request = Request("GET", self.resource.path(call.namespace), query)
        stream = self.client.stream(request)
        async with aclosing(stream) as chunks:
            async for line in _lines(chunks):
                event = _event.decode(line)
                if event.type != "BOOKMARK" or options.bookmarks:
                    yield event

    async def create(self, call: Call, obj: Object) -> Object:
        """Create an object."""
        return await self._send("POST", msgspec.structs.replace(call, name=""), _write(call), obj)

    async def update(self, call: Call, obj: Object) -> Object:
        """Replace an object."""
        return await self._send("PUT", call, _write(call), obj)

    async def patch(self, call: Call, change: Change) -> Object:
        """Patch an object; an apply needs the caller's field manager."""
        query = _write(call)
        if change.kind == "apply":
            query += _query(force="true" if call.force else "")
        path = self.resource.path(call.namespace, call.name, call.subresource)
        request = Request("PATCH", path, query, _encode(change.content), PATCH_TYPES[change.kind])
        return dict(await self.client.call(request))

    async def delete(self, call: Call, options: Object) -> Object:
        """Delete an object."""
        query = _query(dryRun="All" if call.dry_run else "")
        return await self._send("DELETE", call, query, {"apiVersion": "v1", "kind": "DeleteOptions"} | options)

    async def _send(self, method: str, call: Call, query: Query, body: Object | None = None) -> Object:
        path = self.resource.path(call.namespace, call.name, call.subresource)
        request = Request(method, path, query, None if body is None else _encode(body))
        return dict(await self.client.call(request))

    def _selectors(self, labels: str, fields: str) -> Query:
        return _query(labelSelector=",".join(filter(None, (self._selector, labels))), fieldSelector=fields)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield complete lines until the stream ends or has been silent for SILENCE_S."""
    lines = Lines()
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                chunk = await anext(chunks, b"")
        except TimeoutError:
            return
        if not chunk:
            return
        try:
            complete = lines.feed(chunk)
        except LineTooLong as error:
            raise ApiError(500, "InternalError", f"a watch event cannot be read: {error}") from error
        for line in complete:
            yield line


def _query(**values: str) -> Query:
    return tuple((name, value) for name, value in values.items() if value)


def _write(call: Call) -> Query:
    values: dict[str, Any] = {
        "dryRun": "All" if call.dry_run else "",
        "fieldManager": call.manager,
        "fieldValidation": call.field_validation,
    }
    return _query(**values)
