"""A cache of one collection that follows the server: list, watch, go on, list again when too far behind.

Level-based: a subscriber hears that a key changed and looks at what is there now. A change that no watch told
(the connection was down, the history was compacted) is found by the next list as a difference to the cache, and
told the same way, deletions and re-creations too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from loft.core.backoff import Backoff
from loft.core.resource import Resource
from loft.core.resource import object_key as key_of
from loft.kube.client import Client
from loft.kube.errors import ApiError, Gone

log = logging.getLogger(__name__)

__all__ = ["Informer", "drop_managed_fields", "key_of"]

RETRY = Backoff(base_s=0.25, cap_s=30.0)
RESUMES_MAX = 5
"""After so many failures in a row the collection is listed again: the server may know another history now (a
store restored from a backup), in which the version to go on from never comes."""

Object = dict[str, Any]
Objects = list[Object]
Values = list[tuple[str, str]]
Subscriber = Callable[[str, Object | None, Object | None], None]
Index = Callable[[Object], list[str]]


def drop_managed_fields(obj: Object) -> Object:
    """Drop who owns which field: often half of an object's size, and nobody reads it from a cache.

    Every informer does so by itself; for a `transform` that is composed of several, and for other caches.
    """
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """The current objects of one collection, by key and by index.

    Args:
        indexers: name -> function that gives the values under which an object is found by that index. They see
            objects as `transform` left them.
        transform: keeps only what the caller reads, to save memory; may change its argument, must keep
            metadata's namespace, name, uid and resourceVersion. Managed fields are dropped before.
        page_size: objects decoded at a time; small where objects are large and memory is tight.

    Objects are read-only for everybody; nothing checks it.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        indexers: dict[str, Index] | None = None,
        transform: Callable[[Object], Object] | None = None,
        page_size: int = 250,
    ) -> None:
        self.resource = resource
        self._client = client
        self._namespace = namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._indexers = indexers or {}
        self._transform = transform
        self._page_size = page_size
        self._objects: dict[str, Object] = {}
        # Dicts instead of sets inside: they keep insertion order, so results are the same in every run.
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in self._indexers}
        self._values: dict[str, Values] = {}
        """By key: (index, value) under which the object is found; nothing for one that is in no index."""
        self._subscribers: list[Subscriber] = []
        self._synced = asyncio.Event()
        self._version = ""
        self.failure: ApiError | None = None
        """Why the cache is not following at the moment; None while all is well. For readiness and status."""

    def get(self, key: str) -> Object | None:
        """Return the object of a key (`namespace/name`, or `name`)."""
        return self._objects.get(key)

    def list(self) -> Objects:
        """Return all objects, in the order in which they were first seen."""
        return [*self._objects.values()]

    def by_index(self, name: str, value: str) -> Objects:
        """Return the objects that the index puts under a value."""
        return [self._objects[key] for key in self._indexes[name].get(value, ())]

    async def synced(self) -> None:
        """Wait until the first list is in the cache."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether the first list is in the cache."""
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """The version of the collection up to which the cache has followed; "" before the first list."""
        return self._version

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber(key, old, new)` for every object now, and for each change from now on.

        `old` is None for a new object, `new` is None for a deleted one; a re-created object (another uid under
        the same key) is told as a deletion and an addition. It is called in order, while the cache already has
        the new state; it must neither block nor raise (an exception ends `run`).
        """
        self._subscribers.append(subscriber)
        for key, obj in list(self._objects.items()):
            subscriber(key, None, obj)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` no more."""
        self._subscribers.remove(subscriber)

    async def run(self) -> None:
        """Follow the server for ever; only cancellation ends it. Failures are waited out with back-off."""
        failures = 0
        listed_version = ""
        while True:
            try:
                if not self._version:
                    await self._relist()
                    listed_version = self._version
                await self._follow()
            except Gone as error:
                # A list that is too old at once again means a server in trouble: then it is waited for, too.
                failures = failures + 1 if self._version == listed_version else 0
                self._version = ""
                if failures:
                    await self._wait(error, failures)
            except ApiError as error:
                failures = 1 if self.failure is None else failures + 1
                if error.status in (401, 403, 404) or failures > RESUMES_MAX:
                    # Seen with other eyes, or in another history, the collection may be another one.
                    self._version = ""
                await self._wait(error, failures)

    async def _wait(self, error: ApiError, failures: int) -> None:
        if self.failure is None or type(self.failure) is not type(error):
            log.warning("%s: %s; trying again", self.resource.group_resource, error)
        self.failure = error
        await asyncio.sleep(max(RETRY.delay_s(failures, random.random()), error.retry_after_s or 0.0))

    async def _relist(self) -> None:
        """Make the cache equal to a fresh list, telling the differences."""
        present: set[str] = set()
        version, limit = "", self._page_size
        while not version:
            try:
                pages = self._client.pages(self.resource, self._namespace, limit=limit, **self._selectors)
                async with aclosing(pages):
                    async for page in pages:
                        for obj in page.items or ():
                            present.add(self._put(obj))
                        version = page.metadata.resource_version or "0"
                        # Each page is let go before the next is asked for.
                        page.items = None
            except Gone:
                if not limit:
                    raise
                # The pages outlived the server's history: all at once, as of one moment.
                present.clear()
                version, limit = "", 0
        for key in [key for key in self._objects if key not in present]:
            self._drop(key)
        self._version = version
        self._recovered()
        self._synced.set()

    async def _follow(self) -> None:
        watch = self._client.watch(self.resource, self._namespace, resource_version=self._version, **self._selectors)
        watch.on_connected = self._recovered
        try:
            async for event in watch:
                if event.type == "DELETED":
                    self._drop(key_of(event.object))
                else:
                    self._put(event.object)
        finally:
            self._version = watch.resource_version
            await watch.aclose()

    def _recovered(self) -> None:
        if self.failure is not None:
            log.info("%s: following again", self.resource.group_resource)
        self.failure = None

    def _put(self, obj: Object) -> str:
        key = key_of(obj)
        metadata = obj["metadata"]
        drop_managed_fields(obj)
        old = self._objects.get(key)
        if old is not None:
            before = old["metadata"]
            if before.get("uid") != metadata.get("uid"):
                self._drop(key)
                old = None
            elif before.get("resourceVersion") == metadata.get("resourceVersion"):
                return key
        if self._transform is not None:
            obj = self._transform(obj)
        self._objects[key] = obj
        self._index(key, [(name, value) for name, index in self._indexers.items() for value in index(obj)])
        self._tell(key, old, obj)
        return key

    def _drop(self, key: str) -> None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._index(key, [])
            self._tell(key, old, None)

    def _index(self, key: str, values: Values) -> None:
        """Let a key be found by these values only. Most changes of an object leave them as they are."""
        before = self._values.get(key, [])
        if values == before:
            return
        for name, value in before:
            if (name, value) not in values:
                keys = self._indexes[name][value]
                keys.pop(key, None)
                if not keys:
                    del self._indexes[name][value]
        for name, value in values:
            self._indexes[name].setdefault(value, {})[key] = None
        if values:
            self._values[key] = values
        else:
            self._values.pop(key, None)

    def _tell(self, key: str, old: Object | None, new: Object | None) -> None:
        for subscriber in self._subscribers:
            subscriber(key, old, new)
