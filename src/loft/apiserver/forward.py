"""A resource that is another group's view of a custom resource: the same object under another apiVersion.

Every request goes on to the backing resource, so versions, apply, dry-run and validation are the API server's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from loft.apiserver.backing import Backing
from loft.apiserver.call import Call, Change, Event, ListOptions, Object, Page, WatchOptions
from loft.apiserver.refusal import bad_request
from loft.core.resource import Resource
from loft.kube.client import Client
from loft.kube.errors import ApiError

Check = Callable[[Call, Object], Awaitable[None]]
"""Looks at an object before it is written; raises ApiError."""


class Forwarded:
    """See declaration.Store."""

    def __init__(self, client: Client, resource: Resource, backing: Resource, *, check: Check | None = None) -> None:
        self.resource = resource
        self.backing = Backing(client, backing)
        self._check = check

    async def get(self, call: Call) -> Object:
        """Read through."""
        return self.outward(await self._told(self.backing.get(call)))

    async def list(self, call: Call, options: ListOptions) -> Page:
        """Read through."""
        page: Page = await self._told(self.backing.list(call, options))
        return msgspec.structs.replace(page, items=[self.outward(item) for item in page.items])

    async def watch(self, call: Call, options: WatchOptions) -> AsyncIterator[Event]:
        """Follow the backing resource; its versions are ours, so a watch can be resumed."""
        async for event in self.backing.watch(call, options):
            yield event if event.type == "ERROR" else Event(event.type, self.outward(event.object))

    async def create(self, call: Call, obj: Object) -> Object:
        """Create the backing object."""
        await self._checked(call, obj)
        return self.outward(await self._told(self.backing.create(call, self._inward(obj))))

    async def update(self, call: Call, obj: Object) -> Object:
        """Replace the backing object."""
        await self._checked(call, obj)
        return self.outward(await self._told(self.backing.update(call, self._inward(obj))))

    async def patch(self, call: Call, change: Change) -> Object:
        """Patch the backing object; a check sees the outcome before it is stored."""
        change = Change(change.kind, self._inward_change(change))
        if self._check and not call.subresource:
            trial = msgspec.structs.replace(call, dry_run=True)
            outcome = await self._told(self.backing.patch(trial, change))
            await self._check(call, self.outward(outcome))
        return self.outward(await self._told(self.backing.patch(call, change)))

    async def delete(self, call: Call, options: Object) -> Object:
        """Delete the backing object."""
        answer = await self._told(self.backing.delete(call, options))
        return answer if answer.get("kind") == "Status" else self.outward(answer)

    def outward(self, obj: Object) -> Object:
        """Return the object as this group shows it."""
        shown = obj | {"apiVersion": self.resource.api_version, "kind": self.resource.kind}
        managed = (obj.get("metadata") or {}).get("managedFields")
        if managed:
            renamed = [self._renamed(entry, self.backing.resource, self.resource) for entry in managed]
            shown["metadata"] = obj["metadata"] | {"managedFields": renamed}
        return shown

    def _inward(self, obj: Object) -> Object:
        stored = obj | {"apiVersion": self.backing.resource.api_version, "kind": self.backing.resource.kind}
        managed = (obj.get("metadata") or {}).get("managedFields")
        if managed:
            renamed = [self._renamed(entry, self.resource, self.backing.resource) for entry in managed]
            stored["metadata"] = obj["metadata"] | {"managedFields": renamed}
        return stored

    def _inward_change(self, change: Change) -> Any:
        if change.kind == "json":
            touched = [operation.get("path") for operation in change.content if isinstance(operation, dict)]
            if any(path in ("", "/apiVersion", "/kind") for path in touched):
                raise bad_request("a JSON patch must not touch apiVersion, kind or the whole object")
            return change.content
        if change.kind == "apply":
            return self._inward(change.content)
        named = {key: value for key, value in change.content.items() if key in ("apiVersion", "kind")}
        stored = {"apiVersion": self.backing.resource.api_version, "kind": self.backing.resource.kind}
        return change.content | {key: stored[key] for key in named}

    async def _checked(self, call: Call, obj: Object) -> None:
        if self._check and not call.subresource:
            await self._check(call, obj)

    async def _told(self, answer: Awaitable[Any]) -> Any:
        """Wait for an answer; errors speak of this group, not of the one behind."""
        try:
            return await answer
        except ApiError as error:
            error.message = error.message.replace(self.backing.resource.group, self.resource.group)
            if error.details.get("group") == self.backing.resource.group:
                error.details = error.details | {"group": self.resource.group}
            raise

    @staticmethod
    def _renamed(entry: Object, before: Resource, after: Resource) -> Object:
        return entry | {"apiVersion": after.api_version} if entry.get("apiVersion") == before.api_version else entry
