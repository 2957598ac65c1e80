"""Leader election by a Lease: at most one of several replicas does what must be done once.

A replica leads while it renews its Lease. It stops its own work (RENEW_DEADLINE_S) before another may take the
Lease (LEASE_S), both measured on each machine's own monotonic clock: clocks of two machines are never compared.
As everywhere with leases, a process that is frozen for longer than LEASE_S can wake up beside its successor until
its next renewal; so writes of a leader must be safe to repeat (preconditions, server-side apply).
Source: k8s.io/client-go/tools/leaderelection, coordination.k8s.io/v1 Lease.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from loft.core.resource import LEASES
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, Conflict

log = logging.getLogger(__name__)

LEASE_S = 15.0
RENEW_DEADLINE_S = 10.0
RETRY_S = 2.0


class Leader:
    """Competes for one Lease under one identity, which must be unique among the replicas (a pod's name).

    Durations in seconds; `lease_s` is rounded up to a whole number, as the API wants it.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        lease_s: float = LEASE_S,
        renew_deadline_s: float = RENEW_DEADLINE_S,
        retry_s: float = RETRY_S,
        owner: dict[str, Any] | None = None,
    ) -> None:
        """`owner` is an ownerReference for the Lease, so that it goes with what the work is for."""
        if not retry_s < renew_deadline_s < lease_s:
            raise ValueError("a Lease needs retry < renew deadline < lease duration")
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._lease_s = lease_s
        self._renew_deadline_s = renew_deadline_s
        self._retry_s = retry_s
        self._owner = owner
        # What was last seen of somebody else's Lease, and when it was first seen so.
        self._observed: tuple[Any, ...] = ()
        self._observed_at = 0.0
        self.leading = False

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the Lease and run `lead` while holding it; when it is lost, cancel and compete again.

        Returns when `lead` returns; raises what `lead` raises. On return, failure and cancellation the Lease is
        given up, so that a successor need not wait for its end.
        """
        while True:
            while not await self._take(self._retry_s):  # noqa: ASYNC110 - somebody else's Lease: only looking helps
                await asyncio.sleep(self._retry_s * random.uniform(1.0, 1.2))
            log.info("%s leads %s/%s", self._identity, self._namespace, self._name)
            work = asyncio.ensure_future(lead())
            self.leading = True
            try:
                await self._hold(work)
            finally:
                self.leading = False
                await _stop(work)
                # Only when the work has ended may somebody else begin.
                await self._release()
            if not work.cancelled():
                return work.result()
            log.warning("%s has lost %s/%s", self._identity, self._namespace, self._name)

    async def _hold(self, work: asyncio.Future[None]) -> None:
        """Renew until the work ends or the Lease could not be renewed for the renew deadline."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            left_s = renewed + self._renew_deadline_s - loop.time()
            if left_s <= 0:
                return
            await asyncio.wait([work], timeout=min(self._retry_s, left_s))
            if work.done():
                return
            # Counted from before the request: the server may have stored the renewal at any time since.
            asked = loop.time()
            left_s = renewed + self._renew_deadline_s - asked
            if left_s > 0 and await self._take(left_s):
                renewed = asked

    async def _take(self, timeout_s: float) -> bool:
        """Acquire or renew; False when it is somebody else's or the server cannot say within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._try()
        except (AlreadyExists, Conflict):
            return False
        except (ApiError, TimeoutError) as error:
            log.warning("lease %s/%s: %s", self._namespace, self._name, error or "no answer")
            return False

    async def _try(self) -> bool:
        lease = await self._client.find(LEASES, self._name, self._namespace)
        if lease is None:
            await self._client.create(LEASES, self._body({}))
            return True
        spec = lease.get("spec") or {}
        if self._is_foreign(spec):
            return False
        await self._client.update(LEASES, self._body(lease))
        return True

    def _is_foreign(self, spec: dict[str, Any]) -> bool:
        """Whether another identity holds the Lease and has renewed it within its duration, as seen from here."""
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return False
        now = asyncio.get_running_loop().time()
        seen = (holder, spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._observed:
            self._observed, self._observed_at = seen, now
        duration_s = float(spec.get("leaseDurationSeconds") or self._lease_s)
        return now - self._observed_at < duration_s

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(self._retry_s):
                lease = await self._client.find(LEASES, self._name, self._namespace)
                if lease and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    lease["spec"]["holderIdentity"] = ""
                    await self._client.update(LEASES, lease)
        except (ApiError, TimeoutError) as error:
            log.info("lease %s/%s runs out by itself: %s", self._namespace, self._name, error)

    def _body(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Return the Lease as ours; the resource version of what was read makes the write conditional."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease.get("spec") or {})
        if spec.get("holderIdentity") != self._identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if lease else 0)
            spec["acquireTime"] = now
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, -int(-self._lease_s // 1)),
            "renewTime": now,
        }
        metadata = lease.get("metadata") or {"name": self._name, "namespace": self._namespace}
        if self._owner:
            metadata = metadata | {"ownerReferences": [self._owner]}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}


async def _stop(work: asyncio.Future[None]) -> None:
    """Cancel the work if it still runs, and wait until it has ended, however it does."""
    if not work.done():
        work.cancel()
    await asyncio.wait([work])
