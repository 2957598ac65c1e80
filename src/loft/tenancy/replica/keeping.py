"""Keeps the agent's copy in Secrets, so that a restarted agent decides on while the centre is away."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from loft.core.resource import SECRETS
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, NotFound
from loft.kube.failpoint import failpoint
from loft.tenancy.replica.follower import State
from loft.tenancy.replica.sealed import (
    KEY_BYTES,
    NONCE_BYTES,
    Restored,
    SealError,
    open_boxes,
    save_interval_s,
    seal_lease,
    seal_replica,
)

log = logging.getLogger(__name__)

NAME = "loft-agent-replica"
KEY_NAME = "loft-agent-replica-key"
GATHER_S = 1.0
MANAGER = "loft-agent"


class Keeper:
    """Stores and restores; only the leading replica of an agent stores."""

    def __init__(
        self, client: Client, namespace: str, cluster: str, *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._cluster = cluster
        self._random = random
        self._wake = asyncio.Event()

    async def restore(self) -> Restored | None:
        """Return what is stored, None when there is nothing that can be read. Raises: ApiError."""
        secret = await self._client.find(SECRETS, NAME, self._namespace)
        if secret is None:
            return None
        data = secret.get("data") or {}
        try:
            replica, lease = (base64.b64decode(data[field], validate=True) for field in ("replica", "lease"))
            return open_boxes(replica, lease, self._cluster, await self._key())
        except (SealError, KeyError, binascii.Error) as error:
            log.warning("Secret %s cannot be used: %s", NAME, error)
            return None

    def changed(self) -> None:
        """Store soon."""
        self._wake.set()

    async def run(self, state: Callable[[], State | None]) -> None:
        """Store what `state()` returns when it changes, and its time now and then, for ever."""
        stored = ("", datetime.min)
        while True:
            now = state()
            interval_s = save_interval_s(now.replica.lease_s) if now else 60.0
            try:
                async with asyncio.timeout(interval_s):
                    await self._wake.wait()
                    await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass
            self._wake.clear()
            now = state()
            if now is None or (now.replica.revision, now.heard) == stored:
                continue
            try:
                await self._store(now, whole=now.replica.revision != stored[0])
                stored = (now.replica.revision, now.heard)
            except (ApiError, SealError) as error:
                stored = ("", datetime.min)
                log.warning("the replica of users and keys cannot be stored: %s", error)

    async def _store(self, state: State, *, whole: bool) -> None:
        key = await self._key()
        revision = state.replica.revision
        boxes = {"lease": seal_lease(state.heard, revision, self._cluster, key, self._random(NONCE_BYTES))}
        if whole:
            boxes["replica"] = seal_replica(state.replica, self._cluster, key, self._random(NONCE_BYTES))
        data = {field: base64.b64encode(box).decode() for field, box in boxes.items()}
        await failpoint(f"{MANAGER}.replica.store.before")
        # Both boxes are written at once: there is never one without the other that belongs to it.
        try:
            await self._client.patch(SECRETS, NAME, {"data": data}, self._namespace, "merge", manager=MANAGER)
        except NotFound:
            if not whole:
                return await self._store(state, whole=True)
            await self._create(NAME, data)
        return None

    async def _key(self) -> bytes:
        """Return the key, made now when there is none; whoever makes it first, wins."""
        found = await self._client.find(SECRETS, KEY_NAME, self._namespace)
        if found is None:
            made = self._random(KEY_BYTES)
            if await self._create(KEY_NAME, {"key": base64.b64encode(made).decode()}):
                return made
            found = await self._client.get(SECRETS, KEY_NAME, self._namespace)
        key = base64.b64decode((found.get("data") or {}).get("key", ""))
        if len(key) != KEY_BYTES:
            raise SealError(f"Secret {KEY_NAME} holds no key of {KEY_BYTES} bytes; delete it, a new one is made")
        return key

    async def _create(self, name: str, data: dict[str, str]) -> bool:
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self._namespace, "labels": {"loft.sh/managed-by": MANAGER}},
            "data": data,
        }
        try:
            await self._client.create(SECRETS, body)
        except AlreadyExists:
            return False
        return True
