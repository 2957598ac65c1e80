"""What a partial watch tells."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from loft.apiserver.call import Call, Event, ListOptions, Page, WatchOptions
from loft.apiserver.caller import Caller
from loft.apiserver.declaration import Sight
from loft.apiserver.store import Refusing
from loft.apiserver.watching import View, partial_watch
from loft.core.resource import Resource

THINGS = Resource("example.com", "v1", "things", "Thing", namespaced=False)
CALL = Call(caller=Caller(user="a"), verb="watch")


def thing(name: str, *, seen: bool, version: str = "1") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version, "uid": f"u-{name}"}, "seen": seen, "secret": "x"}


def show(obj: dict[str, Any]) -> dict[str, Any] | None:
    return obj if obj["seen"] else None


def test_objects_out_of_view_leave_no_trace() -> None:
    view = View(show)
    assert view.event(Event("ADDED", thing("a", seen=False))) is None
    assert view.event(Event("MODIFIED", thing("a", seen=False))) is None
    assert view.event(Event("DELETED", thing("a", seen=False))) is None


def test_coming_into_view_and_going() -> None:
    view = View(show)
    script = [("ADDED", False), ("MODIFIED", True), ("MODIFIED", True), ("MODIFIED", False), ("DELETED", False)]
    told = [view.event(Event(kind, thing("a", seen=seen))) for kind, seen in script]
    assert [event.type if event else None for event in told] == [None, "ADDED", "MODIFIED", "DELETED", None]
    last = told[3]
    assert last is not None and "secret" not in last.object
    assert last.object["metadata"] == {"name": "a", "resourceVersion": "1", "uid": "u-a"}


def test_what_the_client_knows_is_modified_not_added() -> None:
    view = View(show)
    view.begin([thing("a", seen=True), thing("b", seen=False)])
    told = view.event(Event("MODIFIED", thing("a", seen=True)))
    assert told is not None and told.type == "MODIFIED"
    told = view.event(Event("MODIFIED", thing("b", seen=True)))
    assert told is not None and told.type == "ADDED"
    gone = view.event(Event("DELETED", thing("a", seen=True)))
    assert gone is not None and gone.object["secret"] == "x"


class Scripted(Refusing):
    """A store that tells a script; the real one is an API server (tests/integration)."""

    def __init__(self, started: asyncio.Event, proceed: asyncio.Event) -> None:
        super().__init__(THINGS)
        self.started, self.proceed = started, proceed
        self.closed = False

    async def list(self, call: Call, options: ListOptions) -> Page:
        assert (options.resource_version, options.resource_version_match) == ("5", "Exact")
        return Page(items=[thing("old", seen=True)])

    async def watch(self, call: Call, options: WatchOptions) -> AsyncIterator[Event]:
        self.started.set()
        try:
            yield Event("MODIFIED", thing("old", seen=True))
            await self.proceed.wait()
            yield Event("BOOKMARK", thing("", seen=False, version="9"))
        finally:
            self.closed = True


def test_changes_of_visibility_are_told_and_the_source_is_closed() -> None:
    async def scene() -> None:
        started, proceed = asyncio.Event(), asyncio.Event()
        store = Scripted(started, proceed)
        callbacks: list[Callable[[dict[str, Any]], None]] = []
        ended = []

        def subscribe(changed: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
            callbacks.append(changed)
            return lambda: ended.append(True)

        options = WatchOptions(resource_version="5")
        events = partial_watch(store, CALL, options, Sight(show=show, subscribe=subscribe))
        first = await anext(events)
        assert (first.type, first.object["metadata"]["name"]) == ("MODIFIED", "old")
        callbacks[0](thing("late", seen=True))
        second = await asyncio.wait_for(anext(events), 2)
        assert (second.type, second.object["metadata"]["name"]) == ("ADDED", "late")
        proceed.set()
        assert (await asyncio.wait_for(anext(events), 2)).type == "BOOKMARK"
        assert [event async for event in events] == []
        assert ended and store.closed

    asyncio.run(scene())


def test_leaving_early_closes_everything() -> None:
    async def scene() -> None:
        store = Scripted(asyncio.Event(), asyncio.Event())
        ended: list[bool] = []
        sight = Sight(show=show, subscribe=lambda _: lambda: ended.append(True))
        events = partial_watch(store, CALL, WatchOptions(), sight)
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        assert ended and store.closed

    asyncio.run(scene())
