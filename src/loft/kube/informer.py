"""A cache of one resource that follows the server: list, watch, resume, list again when too far behind.

Level-based: a subscriber hears that a key changed and looks at the cache; a missed event does not matter,
because after a new list the difference to the cache is told in the same way. Objects in the cache are
read-only by convention.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from loft.core.backoff import delay_s
from loft.core.resource import Resource
from loft.kube.client import Client
from loft.kube.errors import ApiError, Gone

log = logging.getLogger(__name__)

Object = dict[str, Any]
Objects = list[Object]
Subscriber = Callable[[str, Object | None, Object | None], None]
Index = Callable[[Object], list[str]]


def key_of(obj: Object) -> str:
    """Return `namespace/name`, or the name of a cluster-scoped object."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def drop_managed_fields(obj: Object) -> Object:
    """Drop what nobody reads from a cache and what is often half of an object's size."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """The current objects of one resource, by key and by index."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        indexers: dict[str, Index] | None = None,
        transform: Callable[[Object], Object] = drop_managed_fields,
    ) -> None:
        self.resource = resource
        self._client = client
        self._namespace = namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._indexers = indexers or {}
        self._transform = transform
        self._objects: dict[str, Object] = {}
        self._indexes: dict[str, defaultdict[str, set[str]]] = {name: defaultdict(set) for name in self._indexers}
        self._subscribers: list[Subscriber] = []
        self._synced = asyncio.Event()
        self._version = ""

    # Reading

    def get(self, key: str) -> Object | None:
        """Return the object of a key (`namespace/name` or `name`)."""
        return self._objects.get(key)

    def list(self) -> Objects:
        """Return all objects, in no order."""
        return [*self._objects.values()]

    def by_index(self, name: str, value: str) -> Objects:
        """Return the objects that an index puts under a value."""
        return [self._objects[key] for key in self._indexes[name].get(value, ())]

    async def synced(self) -> None:
        """Wait until the first list is in the cache."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether the first list is in the cache."""
        return self._synced.is_set()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber(key, old, new)` for every object now and whenever one changes; it must not block."""
        self._subscribers.append(subscriber)
        for key, obj in self._objects.items():
            subscriber(key, None, obj)

    # Following

    async def run(self) -> None:
        """Follow the server for ever; cancellation ends it."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._relist()
                await self._follow()
                failures = 0
            except Gone:
                self._version = ""
            except ApiError as error:
                failures += 1
                wait_s = max(delay_s(failures, first_s=0.1, most_s=10.0, jitter=random.random()), error.retry_after_s)
                log.warning("%s: %s; again in %.1f s", self.resource.plural, error, wait_s)
                if error.status in (401, 403, 404):
                    self._version = ""
                await asyncio.sleep(wait_s)

    async def _relist(self) -> None:
        listed = await self._client.list(self.resource, self._namespace, **self._selectors)
        present = set()
        for obj in listed.items:
            present.add(key_of(obj))
            self._put(obj)
        for key in [key for key in self._objects if key not in present]:
            self._drop(key)
        self._version = listed.resource_version
        self._synced.set()

    async def _follow(self) -> None:
        events = self._client.watch(self.resource, self._namespace, resource_version=self._version, **self._selectors)
        async for event in events:
            self._version = event.object["metadata"].get("resourceVersion") or self._version
            if event.type in ("ADDED", "MODIFIED"):
                self._put(event.object)
            elif event.type == "DELETED":
                self._drop(key_of(event.object))

    def _put(self, obj: Object) -> None:
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None and old["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion"):
            return
        obj = self._transform(obj)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        for name, index in self._indexers.items():
            for value in index(obj):
                self._indexes[name][value].add(key)
        self._tell(key, old, obj)

    def _drop(self, key: str) -> None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
            self._tell(key, old, None)

    def _unindex(self, key: str, obj: Object) -> None:
        for name, index in self._indexers.items():
            for value in index(obj):
                keys = self._indexes[name][value]
                keys.discard(key)
                if not keys:
                    del self._indexes[name][value]

    def _tell(self, key: str, old: Object | None, new: Object | None) -> None:
        for subscriber in self._subscribers:
            subscriber(key, old, new)
