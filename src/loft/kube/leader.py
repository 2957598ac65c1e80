"""Leader election by a Lease: at most one of several replicas does what must be done once.

Source: client-go's leaderelection (lease duration > renew deadline > retry period). The leader stops its
work before its lease can be taken, so a paused process never acts beside its successor for long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from loft.core.resource import LEASES
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, Conflict

log = logging.getLogger(__name__)

LEASE_S = 4
RENEW_S = 1.0
GIVE_UP_S = 3.0


class Leader:
    """Competes for one Lease under one identity."""

    def __init__(self, client: Client, namespace: str, name: str, identity: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seen: tuple[str, float] = ("", 0.0)
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Run `lead` whenever this replica leads; cancel it when leadership is lost. Never returns."""
        while True:
            while not await self._take():  # noqa: ASYNC110 - another process holds it
                await asyncio.sleep(RENEW_S)
            log.info("%s leads %s/%s", self._identity, self._namespace, self._name)
            work = asyncio.ensure_future(lead())
            self.leading = True
            try:
                await self._hold(work)
            finally:
                self.leading = False
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                await self._release()

    async def _hold(self, work: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while not work.done():
            await asyncio.wait([work], timeout=RENEW_S)
            if await self._take():
                renewed = loop.time()
            elif loop.time() - renewed > GIVE_UP_S:
                log.warning("%s lost %s/%s", self._identity, self._namespace, self._name)
                return
        await work

    async def _take(self) -> bool:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                return await self._try()
        except (ApiError, TimeoutError) as error:
            log.debug("lease %s: %s", self._name, error)
            return False

    async def _try(self) -> bool:
        now = asyncio.get_running_loop().time()
        lease = await self._client.find(LEASES, self._name, self._namespace)
        if lease is None:
            try:
                await self._client.create(LEASES, self._body(None), self._namespace)
            except AlreadyExists:
                return False
            return True
        holder = (lease.get("spec") or {}).get("holderIdentity") or ""
        if holder != self._identity:
            version = lease["metadata"]["resourceVersion"]
            if version != self._seen[0]:
                # Clocks of two machines are never compared: a lease has run out when we saw no renewal for its length.
                self._seen = (version, now)
            if holder and now - self._seen[1] < LEASE_S:
                return False
        try:
            await self._client.update(LEASES, self._body(lease))
        except Conflict:
            return False
        return True

    async def _release(self) -> None:
        try:
            lease = await self._client.find(LEASES, self._name, self._namespace)
            if lease and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                await self._client.update(LEASES, lease)
        except ApiError as error:
            log.debug("lease %s not released: %s", self._name, error)

    def _body(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict((lease or {}).get("spec") or {})
        if spec.get("holderIdentity") != self._identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = stamp
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": LEASE_S, "renewTime": stamp}
        metadata = (lease or {}).get("metadata") or {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
