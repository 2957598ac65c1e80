"""Shows classes of the host inside: caches of both sides for each kind, and a plan for each name.

Classes are cluster-wide, so reading them is a right that not every hypervisor has, and some kinds are no kinds of
every host. What cannot be read is not shown; it is looked for again now and then, and all else goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.reflection import Reflection, plan_reflection
from loft.hypervisor.sync_gate import Gates
from loft.hypervisor.sync_writes import Writer
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists
from loft.kube.informer import Informer, drop_managed_fields
from loft.kube.keep import lasting

log = logging.getLogger(__name__)


class Reflected:
    """Shows one kind."""

    def __init__(self, clients: tuple[Client, Client], reflection: Reflection, gates: Gates, writer: Writer) -> None:
        settings = gates.settings
        self._gates = gates
        self._reflection = reflection
        self._settings = settings
        self._names = Names(settings.name, settings.host_namespace)
        self._writer = writer
        host, virtual = clients
        self._host = Informer(host, reflection.resource, transform=drop_managed_fields)
        self._virtual = Informer(virtual, reflection.resource, transform=drop_managed_fields)
        self.controller = Controller(f"{reflection.resource.plural} of the host", self._reconcile)

    async def run(self) -> None:
        """Show until cancelled; waits while the kind cannot be read."""
        await self._gates.wait(self._reflection.resource)
        async with asyncio.TaskGroup() as group:
            for informer in (self._host, self._virtual):
                group.create_task(lasting(f"cache of {informer.resource.plural}", informer.run))
            for informer in (self._host, self._virtual):
                await informer.synced()
            for informer in (self._host, self._virtual):
                informer.subscribe(lambda key, old, new: self.controller.enqueue(key))
            group.create_task(lasting(self.controller.name, self.controller.run))

    async def _reconcile(self, name: str) -> None:
        context = Context(settings=self._settings, now=datetime.now(UTC))
        host, virtual = self._host.get(name), self._virtual.get(name)
        steps = plan_reflection(self._reflection, host, virtual, self._names, context)
        try:
            await self._writer.execute(steps)
        except AlreadyExists:
            # The cache lags behind; what is there is told by it, and looked at then.
            log.debug("%s %s is there already", self._reflection.key, name)
