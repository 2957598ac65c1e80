"""Which replicas of the control plane serve: what stands behind `default/kubernetes` inside.

Connections do not depend on it, the host routes the ClusterIP; but clients inside look at the EndpointSlice, and a
control plane of three must not show one address, nor that of a pod which is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from loft.core.resource import ENDPOINTSLICES
from loft.hypervisor.apiservice import endpoint_objects
from loft.hypervisor.core.objects import Object
from loft.kube.client import Client
from loft.kube.informer import Informer

SERVICE_LABEL = "kubernetes.io/service-name"


def serving(slices: Sequence[Object]) -> list[str]:
    """Return the addresses of ready endpoints in the host's EndpointSlices of the virtual cluster's Service. Pure."""
    found = {
        str(address)
        for item in slices
        for endpoint in item.get("endpoints") or ()
        # Source: discovery.k8s.io/v1, an unknown condition counts as ready.
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
    }
    return sorted(found)


async def follow_replicas(
    host: Client, service: tuple[str, str], own: str, want: Callable[[str, list[Object]], None]
) -> None:
    """Tell `want("endpoints", …)` the replicas that serve; runs until cancelled.

    Args:
        service: namespace and name of the Service on the host.
        own: this replica's address; the one that counts until any is ready.
    """
    namespace, name = service
    informer = Informer(host, ENDPOINTSLICES, namespace, label_selector=f"{SERVICE_LABEL}={name}")
    changed = asyncio.Event()
    informer.subscribe(lambda key, old, new: changed.set())
    async with asyncio.TaskGroup() as group:
        group.create_task(informer.run())
        await informer.synced()
        while True:
            changed.clear()
            want("endpoints", endpoint_objects(serving(informer.list()) or [own]))
            await changed.wait()
