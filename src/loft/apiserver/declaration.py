"""What a resource of an aggregated API is: its type, verbs, columns, where it is kept, who may do what.

A group is a tuple of declarations; loft.apiserver.app serves it. No declaration has a handler of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from loft.api.crd import AGE, Column
from loft.api.meta import Kind
from loft.api.schema import Schema, schema_of
from loft.apiserver.call import Call, Change, Event, ListOptions, Object, Page, WatchOptions
from loft.core.resource import Resource

Show = Callable[[Object], Object | None]
"""What a caller may see of an object; None when nothing at all."""

CRUD = ("create", "delete", "get", "list", "patch", "update", "watch")
READ = ("get", "list", "watch")


class Store(Protocol):
    """Where the objects of a resource are. Objects have the resource's own apiVersion and kind.

    A store does what it is told; whether the caller may is decided before, by the Policy. All raise ApiError.
    """

    async def get(self, call: Call) -> Object:
        """Return one object (or its subresource)."""

    async def list(self, call: Call, options: ListOptions) -> Page:
        """Return a chunk of a collection."""

    def watch(self, call: Call, options: WatchOptions) -> AsyncIterator[Event]:
        """Yield changes until the time is over."""

    async def create(self, call: Call, obj: Object) -> Object:
        """Create an object (or act on a subresource) and return it as stored."""

    async def update(self, call: Call, obj: Object) -> Object:
        """Replace an object; its resourceVersion, when set, must be current."""

    async def patch(self, call: Call, change: Change) -> Object:
        """Change an object; `apply` may create it."""

    async def delete(self, call: Call, options: Object) -> Object:
        """Delete an object; return it, or a Status."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What of a collection a caller may see, for lists and watches."""

    show: Show
    subscribe: Callable[[Callable[[Object], None]], Callable[[], None]] | None = None
    """Call back with each object whose visibility may have changed; returns how to end that."""


class Policy(Protocol):
    """Who may do what with a resource."""

    async def authorize(self, call: Call, find: Callable[[], Awaitable[Object]]) -> Sight | None:
        """Return what the caller may see of the answer; None means all of it.

        `find` reads the object that the call names. Raises: Forbidden, NotFound when the caller must not know.
        """


class Subresource(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an object with a URL of its own, such as `status`."""

    name: str
    verbs: tuple[str, ...]
    kind: type[Kind]


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """One resource."""

    resource: Resource
    kind: type[Kind]
    verbs: tuple[str, ...]
    store: Store
    policy: Policy
    columns: tuple[Column, ...] = (AGE,)
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    schema: Schema | None = None
    """Schema with more rules than the type says; made from the type when None."""
    aliases: tuple[str, ...] = ()
    """Other plurals under which older clients post; not shown in discovery."""

    def object_schema(self, subresource: str = "") -> Schema:
        """Return the schema of the objects, or of those of a subresource."""
        for sub in self.subresources:
            if sub.name == subresource and sub.kind is not self.kind:
                return schema_of(sub.kind)
        return self.schema or schema_of(self.kind)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an API group."""

    name: str
    version: str
    declarations: tuple[Declaration, ...]

    def find(self, plural: str) -> Declaration | None:
        """Return the resource of a plural (or one of its aliases)."""
        for declaration in self.declarations:
            if declaration.resource.plural == plural or plural in declaration.aliases:
                return declaration
        return None
