"""What a virtual cluster holds from its first minute: DNS.

It belongs to the tenant: it is applied at every start of the hypervisor, but a field that the tenant has changed
stays theirs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from loft.core.resource import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    DEPLOYMENTS,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)
from loft.hypervisor.core.objects import Object
from loft.kube.client import Client
from loft.kube.errors import Conflict

MANAGER = "loft-hypervisor"

_RESOURCES: dict[str, Resource] = {
    resource.kind: resource
    for resource in (SERVICES, SERVICEACCOUNTS, CLUSTERROLES, CLUSTERROLEBINDINGS, CONFIGMAPS, DEPLOYMENTS)
}


async def apply_all(virtual: Client, wanted: Sequence[Object]) -> None:
    """Apply objects in order; what somebody else owns by now is left to them. Raises: ApiError."""
    for obj in wanted:
        with contextlib.suppress(Conflict):
            await virtual.apply(_RESOURCES[obj["kind"]], obj, manager=MANAGER, force=False)
