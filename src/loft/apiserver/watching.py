"""A watch of which the caller sees a part: objects come and go from view without the caller learning of others.

What was in view when the watch began is found by a list of the version it begins at, so that an object which
is changed and is not in view leaves no trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from loft.apiserver.call import Call, Event, ListOptions, Object, WatchOptions
from loft.apiserver.declaration import Show, Sight, Store
from loft.kube.informer import key_of

WAITING_MAX = 1000
"""Events that wait for a slow client; then the source waits too."""


class View:
    """What one watch has in view. Pure: events in, events out."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._seen: set[str] = set()

    def begin(self, items: list[Object]) -> None:
        """Take the objects that the client knows already."""
        self._seen = {key_of(item) for item in items if self._show(item) is not None}

    def event(self, event: Event) -> Event | None:
        """Return what the client is told of an event, if anything."""
        if event.type in ("BOOKMARK", "ERROR"):
            return event
        key = key_of(event.object)
        shown = None if event.type == "DELETED" else self._show(event.object)
        if shown is not None:
            known = key in self._seen
            self._seen.add(key)
            return Event("MODIFIED" if known else "ADDED", shown)
        if key not in self._seen:
            return None
        self._seen.discard(key)
        return Event("DELETED", self._show(event.object) or _last_trace(event.object))


def _last_trace(obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in metadata}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": kept}


async def partial_watch(store: Store, call: Call, options: WatchOptions, sight: Sight) -> AsyncIterator[Event]:
    """Yield the events of a watch that the caller may see. Raises: ApiError (Gone when the version is too old)."""
    view = View(sight.show)
    if options.resource_version not in ("", "0") and not options.send_initial_events:
        start = ListOptions(
            label_selector=options.label_selector,
            field_selector=options.field_selector,
            resource_version=options.resource_version,
            resource_version_match="Exact",
        )
        view.begin((await store.list(call, start)).items)
    async with aclosing(_merged(store.watch(call, options), sight)) as events:  # type: ignore[type-var]
        async for event in events:
            if (told := view.event(event)) is not None:
                yield told


async def _merged(source: AsyncIterator[Event], sight: Sight) -> AsyncIterator[Event]:
    """Yield the source's events and, as changes, the objects whose visibility changed."""
    if sight.subscribe is None:
        async for event in source:
            yield event
        return
    queue: asyncio.Queue[Event | Exception | None] = asyncio.Queue(WAITING_MAX)
    revisits: list[Object] = []
    wake = asyncio.Event()

    def revisit(obj: Object) -> None:
        revisits.append(obj)
        wake.set()

    async def pump() -> None:
        try:
            async for event in source:
                await queue.put(event)
                wake.set()
            await queue.put(None)
        except Exception as error:
            await queue.put(error)
        wake.set()

    unsubscribe = sight.subscribe(revisit)
    task = asyncio.create_task(pump())
    try:
        while True:
            await wake.wait()
            wake.clear()
            while revisits:
                yield Event("MODIFIED", revisits.pop(0))
            while not queue.empty():
                item = queue.get_nowait()
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
    finally:
        unsubscribe()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
