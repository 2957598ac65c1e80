"""Keeps mapped Services: caches of the host's that are shown inside, and a plan for each name on either side.

A Service of another namespace may be out of reach (no right, no such Service): that is told on the namespace inside in
which it was to be, and all else goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from loft.core.action import Event
from loft.core.resource import NAMESPACES, SERVICES
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.plan import is_ours, plan, remove
from loft.hypervisor.core.side import on_virtual
from loft.hypervisor.kinds.mappedservice import KEY, MAPPED_SERVICE, NOT_MAPPED, plan_from_host, unmappable
from loft.hypervisor.sync_world import World
from loft.hypervisor.sync_writes import HostRefused, NameOccupied, Writer
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists, Invalid
from loft.kube.informer import Informer, drop_managed_fields
from loft.kube.keep import lasting

log = logging.getLogger(__name__)

AGAIN_S = 20.0
"""When to try again what was refused."""
READ_S = 5.0
"""How long a cache of one Service may take before it is told that the Service cannot be read."""


class MappedServices:
    """Reconciles mapped Services: those of the host by their key inside, those from inside by their name outside."""

    def __init__(self, clients: tuple[Client, Client], world: World, writer: Writer) -> None:
        self._host, self._virtual = clients
        self._world, self._writer = world, writer
        settings = world.settings
        self._targets = {item.target: item.source for item in settings.from_host}
        self._sources = {item.target: item.source for item in settings.from_virtual}
        self._caches = {target: self._cache(source) for target, source in self._targets.items()}
        self.controllers = (
            Controller("services of the host", self._reconcile_from_host),
            Controller("services for the host", self._reconcile_from_virtual),
        )

    def _cache(self, source: str) -> Informer:
        namespace, _, name = source.partition("/")
        selector = f"metadata.name={name}"
        return Informer(self._host, SERVICES, namespace, field_selector=selector, transform=drop_managed_fields)

    async def run(self) -> None:
        """Keep them until cancelled; the caches of the world are filled by now."""
        shown, given = self.controllers
        async with asyncio.TaskGroup() as group:
            for target, cache in self._caches.items():
                cache.subscribe(self._shown_changed(target))
                group.create_task(lasting(f"Service {self._targets[target]}", cache.run))
                shown.enqueue(target)
            self._world.virtual["Service"].subscribe(self._virtual_changed)
            self._world.host["Service"].subscribe(self._host_changed)
            for name in self._sources:
                given.enqueue(name)
            for controller in self.controllers:
                group.create_task(lasting(controller.name, controller.run))

    async def idle(self) -> None:
        """Wait until nothing is left to do that is known now."""
        for controller in self.controllers:
            await controller.idle()

    def _shown_changed(self, target: str) -> Callable[[str, Object | None, Object | None], None]:
        return lambda key, old, new: self.controllers[0].enqueue(target)

    def _virtual_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        if key in self._targets or objects.is_mapped(new or old or {}):
            self.controllers[0].enqueue(key)
        for name, source in self._sources.items():
            if source == key:
                self.controllers[1].enqueue(name)

    def _host_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        if objects.annotations(new or old or {}).get(objects.OBJECT_KIND) == KEY:
            self.controllers[1].enqueue(objects.name(new or old or {}))

    def _context(self, virtual: Object | None) -> Context:
        reported = self._writer.told(objects.uid(virtual)) if virtual else frozenset[str]()
        return Context(settings=self._world.settings, now=datetime.now(UTC), reported=reported)

    # From the host

    async def _reconcile_from_host(self, target: str) -> float | None:
        virtual = self._world.virtual["Service"].get(target)
        cache = self._caches.get(target)
        host = None
        if cache is not None:
            missing = await self._missing(cache, self._targets[target])
            if missing:
                await self._tell(target, missing)
            if not cache.is_synced:
                # Nothing is known of it, so what is inside stays as it is.
                return AGAIN_S
            host = cache.get(self._targets[target])
        namespace = await self._virtual.find(NAMESPACES, target.partition("/")[0]) if virtual is None else None
        steps = plan_from_host(target, (host, virtual), namespace, self._world.names, self._context(virtual))
        try:
            await self._writer.execute(steps)
        except AlreadyExists:
            log.debug("Service %s is there already", target)
            return AGAIN_S / 10
        except Invalid as error:
            # The address is not in the range that both share, or somebody inside has it.
            await self._tell(target, error.message)
            return AGAIN_S
        return AGAIN_S if namespace is not None and objects.is_deleting(namespace) else None

    async def _missing(self, cache: Informer, source: str) -> str:
        """Return why a Service of the host cannot be shown, "" when it can."""
        try:
            async with asyncio.timeout(READ_S):
                await cache.synced()
        except TimeoutError:
            return f"it cannot be read: {cache.failure.message if cache.failure else 'no answer'}"
        host = cache.get(source)
        return unmappable(host) if host else "there is none"

    async def _tell(self, target: str, why: str) -> None:
        """Say it on the namespace inside, which is the only thing there while the Service is not."""
        text = f"Service {self._targets[target]} of the host is not shown as {target}: {why}"
        name = target.partition("/")[0]
        namespace = await self._virtual.find(NAMESPACES, name)
        if namespace is None:
            log.warning("%s", text)
        elif text not in self._writer.told(objects.uid(namespace)):
            about = {"apiVersion": "v1", "kind": "Namespace", "metadata": objects.metadata(namespace)}
            await self._writer.execute([on_virtual(Event(about, NOT_MAPPED, text, "Warning"))])

    # From inside

    async def _reconcile_from_virtual(self, name: str) -> float | None:
        world = self._world
        host = world.host["Service"].get(f"{world.names.host_namespace}/{name}")
        if host is not None and objects.annotations(host).get(objects.OBJECT_KIND) != KEY:
            host = None
        source = self._sources.get(name)
        virtual = world.virtual["Service"].get(source) if source else None
        if virtual is None or objects.is_mapped(virtual):
            await self._writer.execute(remove(MAPPED_SERVICE, host))
            return None
        context = msgspec.structs.replace(self._context(virtual), mapped_to=name)
        steps = plan(MAPPED_SERVICE, virtual, host, world.names, context)
        if steps and self._writer.is_fight(f"{KEY}/{name}", steps):
            log.warning("Service %s of the host: the same change is undone again and again; slowing down", name)
            return AGAIN_S
        try:
            await self._writer.execute(steps, virtual)
        except HostRefused as refused:
            text = f"refused by the host cluster as {name}: {refused}"
            if text not in context.reported:
                await self._writer.execute([on_virtual(Event(virtual, "HostRefused", text, "Warning"))])
            return AGAIN_S
        except NameOccupied:
            return await self._occupied(virtual, context)
        return None

    async def _occupied(self, virtual: Object, context: Context) -> float:
        """Tell our own Service, which the cache has not seen yet, from a stranger's."""
        names = self._world.names
        found = await self._host.find(SERVICES, context.mapped_to, names.host_namespace)
        ours = found is not None and is_ours(found, names) and objects.owner_uid(found) == objects.uid(virtual)
        if found is None or ours:
            return AGAIN_S / 10
        steps = plan(MAPPED_SERVICE, virtual, None, names, msgspec.structs.replace(context, name_taken=True))
        await self._writer.execute([step for step in steps if step.side == "virtual"], virtual)
        return AGAIN_S
