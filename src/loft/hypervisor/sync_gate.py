"""Waits for kinds that a host may not have, or not let us use, and puts the definitions of custom kinds inside.

All else goes on meanwhile. Tenants who use such a kind are told why nothing happens, on their objects.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from loft.core.action import Create, Event, Patch
from loft.core.diff import covers
from loft.core.resource import CRDS, Resource
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.definition import definition_name, inside_definition
from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.core.reflection import REFLECTED
from loft.hypervisor.core.side import on_virtual
from loft.hypervisor.settings import Settings
from loft.hypervisor.sync_writes import Writer
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError

log = logging.getLogger(__name__)

PROBE_S = 20.0
"""How often a kind that cannot be used is looked for."""
SERVED_SOON_S = 0.25
NOT_OFFERED = "NotOffered"


class Gates:
    """Waits until a kind can be used on both sides."""

    def __init__(self, clients: tuple[Client, Client], settings: Settings, writer: Writer) -> None:
        self._host, self._virtual = clients
        self.settings = settings
        self._writer = writer

    async def wait(self, resource: Resource, mapping: Mapping | None = None) -> None:
        """Return once both sides serve the kind and let us read it.

        With a `mapping`, objects inside for which there is no way to the host get an Event.
        """
        told = ""
        while True:
            missing = await self._missing(self._host, resource, "the host cluster")
            if missing and mapping:
                await self._tell(mapping, missing)
            missing = missing or await self._inside(resource)
            if not missing:
                return
            if missing != told:
                log.info("%s", missing)
            told = missing
            await asyncio.sleep(PROBE_S)

    async def _missing(self, client: Client, resource: Resource, where: str) -> str:
        namespace = self.settings.host_namespace if resource.namespaced and client is self._host else ""
        try:
            await client.call(requests.list_(resource, namespace, limit=1))
        except ApiError as error:
            if error.status == 404:
                return f"{where} has no kind {resource.group_resource}"
            if error.status == 403:
                return f"{where} does not let this virtual cluster use {resource.group_resource}"
            return f"{resource.group_resource} cannot be read: {error}"
        return ""

    async def _inside(self, resource: Resource) -> str:
        """Return what is missing inside; a definition is put there and followed by the version of the host."""
        missing = await self._missing(self._virtual, resource, "the virtual cluster")
        problem = await self._define(resource) if resource.group.count(".") else ""
        if not missing or problem:
            return missing and problem
        for _ in range(int(PROBE_S / SERVED_SOON_S)):
            missing = await self._missing(self._virtual, resource, "the virtual cluster")
            if not missing:
                break
            await asyncio.sleep(SERVED_SOON_S)
        return missing

    async def _define(self, resource: Resource) -> str:
        name = definition_name(resource)
        try:
            there = await self._host.find(CRDS, name)
            wanted = inside_definition(there, resource) if there else None
            if wanted is None:
                return f"the host's definition of {name} has no version {resource.version}" if there else ""
            await self._write(wanted, await self._virtual.find(CRDS, name))
        except ApiError as error:
            return f"the definition of {name} cannot be put inside: {error}"
        return ""

    async def _write(self, wanted: objects.Object, inside: objects.Object | None) -> None:
        if inside is None:
            try:
                await self._writer.execute([on_virtual(Create(CRDS, wanted))])
            except AlreadyExists:
                log.debug("%s was defined meanwhile", objects.name(wanted))
        elif REFLECTED in objects.labels(inside) and not covers(inside, wanted):
            uid, change = objects.uid(inside), {"spec": wanted["spec"]}
            await self._writer.execute([on_virtual(Patch(CRDS, "", objects.name(inside), change, uid=uid))])

    async def _tell(self, mapping: Mapping, missing: str) -> None:
        context = Context(settings=self.settings, now=datetime.now(UTC))
        text = f"not synced to the host cluster: {missing}"
        try:
            listed = await self._virtual.list(mapping.resource)
        except ApiError:
            return
        for virtual in listed.items:
            if mapping.wanted(virtual, context) and text not in self._writer.told(objects.uid(virtual)):
                await self._writer.execute([on_virtual(Event(virtual, NOT_OFFERED, text, "Warning"))])
