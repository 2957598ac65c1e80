"""The write side of the sync engine: steps done on the right API server, and what a refusal there means.

A host that refuses a tenant's object (quota, validation, admission) is told to the tenant on the virtual object;
everything else is an error for the queue, which tries again with back-off.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from loft.core.action import Create, Event, Patch
from loft.core.resource import NODES, PVS
from loft.hypervisor.core import objects
from loft.hypervisor.core.body import digest
from loft.hypervisor.core.names import Names, host_name
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step
from loft.hypervisor.core.texts import virtual_text
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, NotFound
from loft.kube.execute import Executor

log = logging.getLogger(__name__)

COMPONENT = "loft-hypervisor"
REMEMBERED = 10_000
"""Objects whose told refusals are remembered; an older one may be told once more."""
REFUSAL_STATUSES = frozenset({400, 403, 413, 422})
REPEATS_MAX = 3
"""The same patch more often than this means that something on the host undoes it: then we slow down."""


class HostRefused(Exception):
    """The host does not accept a tenant's object; the message is in the tenant's words."""


class NameOccupied(Exception):
    """A create on the host found an object of that name."""


class Writer:
    """Both executors of one virtual cluster."""

    def __init__(self, host: Client, virtual: Client, names: Names) -> None:
        self._executors = {
            "host": Executor(host, component=COMPONENT),
            "virtual": Executor(virtual, component=COMPONENT),
        }
        self._names = names
        self._told: OrderedDict[str, set[str]] = OrderedDict()
        self._last: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def told(self, uid: str) -> frozenset[str]:
        """Return the messages already told about an object."""
        return frozenset(self._told.get(uid, ()))

    def forget(self, uid: str) -> None:
        """Forget what was told about an object: it is gone, or fine again."""
        self._told.pop(uid, None)

    def is_fight(self, key: str, steps: Sequence[Step]) -> bool:
        """Whether the same patches of one object are repeated over and over; counts this call.

        After a True it counts anew: whoever waits then may try again.
        """
        patches = [step.action.patch for step in steps if isinstance(step.action, Patch)]
        if not patches:
            self._last.pop(key, None)
            return False
        mark = digest(patches)
        before, count = self._last.get(key, ("", 0))
        count = count + 1 if before == mark else 1
        if count > REPEATS_MAX:
            del self._last[key]
            return True
        self._last[key] = (mark, count)
        _bound(self._last)
        return False

    def unwritten(self, key: str) -> None:
        """Say that what `is_fight` counted last was not written after all, so nobody can have undone it."""
        self._last.pop(key, None)

    async def execute(self, steps: Sequence[Step], virtual: Object | None = None) -> Object | None:
        """Do the steps in order; return what the last one left on the server, None when that told nothing.

        Raises: HostRefused when the host does not accept the tenant's object, NameOccupied, ApiError.
        """
        stored: Object | None = None
        for step in steps:
            stored = None
            try:
                stored = await self._executors[step.side].perform(step.action)
            except AlreadyExists:
                if step.side == "host":
                    raise NameOccupied(objects.name(step.action.body)) from None  # type: ignore[union-attr]
                # Our own virtual Nodes and volumes: another worker was faster than the cache.
                if not isinstance(step.action, Create) or step.action.resource not in (NODES, PVS):
                    raise
            except NotFound:
                # The object went meanwhile, and the cache will say so.
                if not isinstance(step.action, Patch):
                    raise
            except ApiError as error:
                self._refused(step, error, virtual)
                raise
            if isinstance(step.action, Event):
                self.remember(objects.uid(step.action.about), step.action.message)
        return stored

    def _refused(self, step: Step, error: ApiError, virtual: Object | None) -> None:
        if step.side != "host" or error.status not in REFUSAL_STATUSES or virtual is None:
            return
        name = host_name(virtual, self._names)
        host = {"metadata": {"name": name, "namespace": self._names.host_namespace}}
        raise HostRefused(virtual_text(error.message or str(error), host, virtual, self._names)) from error

    def remember(self, uid: str, message: str) -> None:
        """Note that a message was told about an object."""
        self._told.setdefault(uid, set()).add(message)
        self._told.move_to_end(uid)
        _bound(self._told)


def _bound(memory: OrderedDict[str, Any]) -> None:
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
