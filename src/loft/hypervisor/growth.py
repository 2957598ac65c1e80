"""Ends the StatefulSet of a control plane with one replica, so that Helm can make one of three in its place.

Claims for further volumes cannot be added to a StatefulSet. The volume of the first replica is the chart's own and
stays. Only one that has no such claims is ended, so this done twice, or too late, harms nothing.
"""

from __future__ import annotations

import asyncio

from loft.core.action import Delete
from loft.core.resource import PODS, STATEFULSETS
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.kube.client import Client
from loft.kube.execute import Executor

POLL_S = 0.3


def plan(observed: Object | None) -> list[Delete]:
    """Return what is to be deleted; pure."""
    if observed is None or objects.is_deleting(observed) or observed["spec"].get("volumeClaimTemplates"):
        return []
    return [Delete(STATEFULSETS, objects.namespace(observed), objects.name(observed), uid=objects.uid(observed))]


async def make_way(host: Client, namespace: str, name: str) -> None:
    """End the StatefulSet and wait until its pod is gone: nobody may hold the volume. Raises: ApiError."""
    executor = Executor(host, component="loft-growth")
    await executor.execute(plan(await host.find(STATEFULSETS, name, namespace)))
    while True:
        observed = await host.find(STATEFULSETS, name, namespace)
        if observed is not None and not objects.is_deleting(observed):
            return
        if observed is None and await host.find(PODS, f"{name}-0", namespace) is None:
            return
        await asyncio.sleep(POLL_S)
