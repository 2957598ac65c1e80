"""A store that can do nothing: what a store does not do is refused, not forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator

from loft.apiserver.call import Call, Change, Event, ListOptions, Object, Page, WatchOptions
from loft.apiserver.refusal import method_not_allowed
from loft.core.resource import Resource


class Refusing:
    """Base of stores with a few verbs; see declaration.Store for what each does."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    async def get(self, call: Call) -> Object:
        """Refuse."""
        raise method_not_allowed(self.resource, "get")

    async def list(self, call: Call, options: ListOptions) -> Page:
        """Refuse."""
        raise method_not_allowed(self.resource, "list")

    async def watch(self, call: Call, options: WatchOptions) -> AsyncIterator[Event]:
        """Refuse."""
        raise method_not_allowed(self.resource, "watch")
        yield  # an async generator, like the real ones

    async def create(self, call: Call, obj: Object) -> Object:
        """Refuse."""
        raise method_not_allowed(self.resource, "create")

    async def update(self, call: Call, obj: Object) -> Object:
        """Refuse."""
        raise method_not_allowed(self.resource, "update")

    async def patch(self, call: Call, change: Change) -> Object:
        """Refuse."""
        raise method_not_allowed(self.resource, "patch")

    async def delete(self, call: Call, options: Object) -> Object:
        """Refuse."""
        raise method_not_allowed(self.resource, "delete")
