"""Reconcile one object of a mapped kind: look at both sides, plan, do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from loft.core.action import Event
from loft.core.resource import SERVICES
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import host_name
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.pairing import Paired, belongs
from loft.hypervisor.core.plan import is_all_done, is_ours, plan, remove, status_patch
from loft.hypervisor.core.side import Step, on_virtual
from loft.hypervisor.sync_world import CONTENT, World
from loft.hypervisor.sync_writes import HostRefused, NameOccupied, Writer
from loft.kube.client import Client

log = logging.getLogger(__name__)

RESERVED_SOON_S = 5.0
"""A Service younger than this may have a reservation on the host that our cache has not seen yet."""
LOOK_AGAIN_S = 1.0
REFUSED_AGAIN_S = 20.0
"""When to try again what the host refused: a quota may have room by then."""


class Locks:
    """One lock for each key that somebody works on; two queues can reach one object."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: defaultdict[str, int] = defaultdict(int)

    @contextlib.asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Hold a key's lock."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


Prepare = Callable[[Object, list[Step]], Awaitable[None]]


class Objects:
    """Reconciles objects of the mapped kinds."""

    def __init__(self, clients: tuple[Client, Client], world: World, writer: Writer) -> None:
        self._host, self._virtual = clients
        self._world = world
        self._writer = writer
        self._locks = Locks()
        self._quiet: dict[str, Any] = {}
        self._claimed: dict[str, str] = {}
        """Reservations that a virtual Service was seen to have: host key to host uid."""
        self.prepare: dict[str, Prepare] = {}
        """By kind: what must be in place before the steps of an object of that kind are done."""

    async def reconcile(self, kind: str, key: str) -> float | None:
        """Bring one object's two sides together; return seconds after which to look again."""
        async with self._locks.hold(f"{kind}/{key}"):
            return await self._reconcile(kind, key)

    async def _reconcile(self, kind: str, key: str) -> float | None:
        paired = self._world.pair(kind, key)
        virtual = paired.virtual
        gone = [step for host in paired.stale for step in remove(self._world.mappings[kind], host)]
        if gone:
            await self._writer.execute(gone)
        if virtual is None:
            self._quiet.pop(f"{kind}/{key}", None)
            return None
        context = self._world.context(kind, virtual, self._writer.told(objects.uid(virtual)))
        state = self._state(paired, context)
        if self._quiet.get(f"{kind}/{key}") == state:
            return None
        if kind in CONTENT and context.used:
            virtual = await self._virtual.find(
                self._world.mappings[kind].resource, objects.name(virtual), objects.namespace(virtual)
            )
            if virtual is None:
                return None
            paired = Paired(virtual, paired.host, [])
        if kind == "Service" and paired.host is None and self._may_be_reserved(virtual):
            return LOOK_AGAIN_S
        steps = plan(self._world.mappings[kind], virtual, paired.host, self._world.names, context)
        if paired.host is not None and objects.RESERVATION in objects.annotations(paired.host):
            self.claimed(paired.host)
        if not steps:
            if paired.host is not None:
                self._quiet[f"{kind}/{key}"] = state
            return None
        if self._writer.is_fight(f"{kind}/{key}", steps):
            log.warning("%s %s: the same change is undone again and again; slowing down", kind, key)
            return REFUSED_AGAIN_S
        return await self._carry_out(kind, paired, steps, context)

    async def _carry_out(self, kind: str, paired: Paired, steps: list[Step], context: Context) -> float | None:
        virtual = paired.virtual or {}
        key = f"{kind}/{objects.key(virtual)}"
        try:
            left = await self.write(kind, virtual, steps, context)
        except BaseException:
            self._writer.unwritten(key)
            raise
        if isinstance(left, float):
            return left
        if left and is_all_done(steps, paired.host, left):
            # The watch will tell of our own write, and there is nothing to be said to it.
            self._quiet[key] = self._state(Paired(virtual, left, []), context)
        return None

    @staticmethod
    def _state(paired: Paired, context: Context) -> Any:
        def version(obj: Object | None) -> Any:
            return obj and (objects.uid(obj), objects.metadata(obj).get("resourceVersion"))

        return (
            version(paired.virtual),
            version(paired.host),
            context.used,
            context.host_service,
            version(context.service),
            version(context.volume),
            context.namespaces,
            context.egress_ruled,
            context.host_names,
            context.own_secrets,
        )

    @staticmethod
    def _may_be_reserved(virtual: Object) -> bool:
        """Whether to wait for a reservation to show up in the cache rather than to create a second Service."""
        if objects.spec(virtual).get("clusterIP") in (None, "", "None"):
            return False
        made = datetime.fromisoformat(objects.metadata(virtual)["creationTimestamp"])
        return (datetime.now(UTC) - made).total_seconds() < RESERVED_SOON_S

    async def write(self, kind: str, virtual: Object, steps: list[Step], context: Context) -> float | Object | None:
        """Do the steps of one object; a refusal by the host is told to the tenant.

        Returns: seconds after which to look again, or what the last step left on the server.
        Raises: ApiError.
        """
        try:
            if kind in self.prepare:
                await self.prepare[kind](virtual, steps)
            return await self._writer.execute(steps, virtual)
        except HostRefused as refused:
            await self._tell(kind, virtual, str(refused), context)
            return REFUSED_AGAIN_S
        except NameOccupied:
            return await self._occupied(kind, virtual, context)

    async def _occupied(self, kind: str, virtual: Object, context: Context) -> float:
        """Tell our own object, which the cache has not seen yet, from a stranger."""
        names, mapping = self._world.names, self._world.mappings[kind]
        namespace = names.host_namespace if mapping.resource.namespaced else ""
        host = await self._host.find(mapping.resource, host_name(virtual, names), namespace)
        if host is not None and not is_ours(host, names):
            steps = plan(mapping, virtual, None, names, msgspec.structs.replace(context, name_taken=True))
            await self._writer.execute([step for step in steps if step.side == "virtual"], virtual)
            return REFUSED_AGAIN_S
        return LOOK_AGAIN_S

    async def _tell(self, kind: str, virtual: Object, message: str, context: Context) -> None:
        text = f"refused by the host cluster: {message}"
        mapping = self._world.mappings[kind]
        change = mapping.refused_status(virtual, text) if mapping.refused_status else None
        steps = [on_virtual(status_patch(mapping, virtual, change))] if change else []
        if text not in context.reported:
            steps.append(on_virtual(Event(virtual, "HostRefused", text, "Warning")))
        await self._writer.execute(steps)

    def claimed(self, host: Object) -> None:
        """Note that a virtual Service has, or had, this reservation: it goes with that one then."""
        self._claimed[objects.key(host)] = objects.uid(host)

    def _is_claimed(self, host: Object) -> bool:
        """Whether a virtual Service has this reservation. One without an address has what is reserved by its name."""
        having = self._world.virtual["Service"].by_index("ip", objects.spec(host).get("clusterIP") or "")
        named = self._world.virtual["Service"].get(objects.virtual_key(host))
        return any(
            belongs(self._world.mappings["Service"], virtual, host)
            for virtual in [*having, *([named] if named is not None else [])]
        )

    async def release(self, key: str) -> float | None:
        """Remove a reserved host Service that no virtual one claimed in time, or has no longer.

        Returns: seconds after which to look again, None when there is nothing to wait for.
        """
        host = self._world.host["Service"].get(key)
        if host is None or objects.RESERVATION not in objects.annotations(host) or objects.owner_uid(host):
            self._claimed.pop(key, None)
            return None
        if self._is_claimed(host):
            return None
        if self._claimed.get(key) == objects.uid(host):
            await self._writer.execute(remove(self._world.mappings["Service"], host))
            return None
        made = datetime.fromisoformat(objects.metadata(host)["creationTimestamp"])
        left_s = self._world.settings.reservation_s - (datetime.now(UTC) - made).total_seconds()
        if left_s > 0:
            return left_s
        address = objects.spec(host).get("clusterIP")
        # The cache may lag behind; the API server itself says whether the address is in use.
        claimed = await self._virtual.list(SERVICES, field_selector=f"spec.clusterIP={address}")
        if not claimed.items:
            await self._writer.execute(remove(self._world.mappings["Service"], host))
            return None
        for service in claimed.items:
            await self.reconcile("Service", objects.key(service))
        return self._world.settings.reservation_s
