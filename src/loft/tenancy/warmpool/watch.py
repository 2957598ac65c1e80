"""Keeps the wished number of warm virtual clusters. One replica of the agent runs it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

from loft.core.resource import NAMESPACES
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists, Conflict, NotFound
from loft.kube.execute import Executor
from loft.kube.informer import Informer
from loft.tenancy.virtualcluster.release import WARM
from loft.tenancy.warmpool.plan import ID_LENGTH, ID_LETTERS, claimed, kept, plan

log = logging.getLogger(__name__)

Object = dict[str, Any]
MANAGER = "loft-agent"
POOL = "pool"
AGAIN_S = 1.0
CLAIM_S = 30.0
"""A claim takes milliseconds; what is not done after this was left by a claimer that died."""


def new_id() -> str:
    """Return an opaque name."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))


async def keep_warm(client: Client, clusters: Informer, size: int) -> None:
    """Make and remove warm virtual clusters until cancelled.

    Args:
        client: with the agent's rights.
        clusters: cache of all VirtualClusters; the caller runs it.
        size: how many shall be free; 0 removes those of before.
    """
    namespaces = Informer(client, NAMESPACES, label_selector=WARM)
    executor = Executor(client, component=MANAGER)
    since: dict[str, float] = {}

    async def reconcile(_: str) -> float | None:
        warm = [item for item in clusters.list() if WARM in (item["metadata"].get("labels") or {})]
        actions = plan(namespaces.list(), warm, size, new_id)
        now, orphans = asyncio.get_running_loop().time(), claimed(namespaces.list(), warm)
        uids = {item["metadata"]["uid"] for item in orphans}
        for uid in since.keys() - uids:
            del since[uid]
        actions += [kept(item) for item in orphans if now - since.setdefault(item["metadata"]["uid"], now) > CLAIM_S]
        try:
            await executor.execute(actions)
        except (AlreadyExists, Conflict, NotFound) as error:
            log.debug("warm virtual clusters: the cache is behind: %s", error)
            return AGAIN_S
        if actions:
            # Names are made here, so a second look must not come before the first one's writes are seen.
            await asyncio.sleep(AGAIN_S)
        return CLAIM_S if orphans else None

    def changed(key: str, old: Object | None, new: Object | None) -> None:
        if any(WARM in (item["metadata"].get("labels") or {}) for item in (old, new) if item):
            controller.enqueue(POOL)

    controller = Controller("warm-virtual-clusters", reconcile, workers=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(namespaces.run())
        await namespaces.synced()
        await clusters.synced()
        namespaces.subscribe(changed)
        clusters.subscribe(changed)
        controller.enqueue(POOL)
        try:
            await controller.run()
        finally:
            clusters.unsubscribe(changed)
