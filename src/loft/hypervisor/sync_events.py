"""Host Events about synced objects, told on their virtual objects."""

from __future__ import annotations

from datetime import UTC, datetime

from loft.hypervisor.kinds.event import involved_uid, is_old, is_said_inside, plan_event
from loft.hypervisor.sync_world import World
from loft.hypervisor.sync_writes import Writer
from loft.kube.errors import ApiError

TRIES = (0.2, 1.0, 3.0)
"""When to look again for the object of an Event: its cache may lag behind that of Events."""


class Events:
    """Tells host Events inside."""

    def __init__(self, world: World, writer: Writer) -> None:
        self._world = world
        self._writer = writer
        self._tries: dict[str, int] = {}

    async def reconcile(self, key: str) -> float | None:
        """Tell one host Event on the virtual object it concerns; return when to look again for that object."""
        event = self._world.events.get(key)
        settings = self._world.settings
        if event is None or is_old(event, datetime.now(UTC)) or is_said_inside(event, settings):
            self._tries.pop(key, None)
            return None
        found = self._world.find_host(involved_uid(event))
        if found is None:
            return self._later(key)
        self._tries.pop(key, None)
        kind, host = found
        virtual = self._world.find_virtual(kind, host)
        if virtual is None:
            return None
        try:
            await self._writer.execute(plan_event(event, host, virtual, self._world.names))
        except ApiError as error:
            # A namespace that is going takes no new Events, and an Event is not worth a retry for ever.
            if error.status not in (403, 404, 422):
                raise
        return None

    def _later(self, key: str) -> float | None:
        tried = self._tries.get(key, 0)
        if tried >= len(TRIES):
            self._tries.pop(key, None)
            return None
        self._tries[key] = tried + 1
        return TRIES[tried]
