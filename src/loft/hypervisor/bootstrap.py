"""What a virtual cluster holds from its first minute: DNS, and the host's StorageClasses to look at.

DNS belongs to the tenant: it is applied at every start of the hypervisor, but a field that the tenant has changed
stays theirs. StorageClasses are copies of the host's, kept like it, so that claims can name them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from loft.core.resource import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    DEPLOYMENTS,
    SERVICEACCOUNTS,
    SERVICES,
    STORAGECLASSES,
    Resource,
)
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.kube.client import Client
from loft.kube.errors import Conflict, Forbidden
from loft.kube.informer import Informer

log = logging.getLogger(__name__)

MANAGER = "loft-hypervisor"
CLASS_FIELDS = ("provisioner", "reclaimPolicy", "volumeBindingMode", "allowVolumeExpansion")
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

_RESOURCES: dict[str, Resource] = {
    resource.kind: resource
    for resource in (SERVICES, SERVICEACCOUNTS, CLUSTERROLES, CLUSTERROLEBINDINGS, CONFIGMAPS, DEPLOYMENTS)
}


async def apply_all(virtual: Client, wanted: Sequence[Object]) -> None:
    """Apply objects in order; what somebody else owns by now is left to them. Raises: ApiError."""
    for obj in wanted:
        with contextlib.suppress(Conflict):
            await virtual.apply(_RESOURCES[obj["kind"]], obj, manager=MANAGER, force=False)


def mirrored_class(host_class: Object) -> Object:
    """Return the copy of a host StorageClass; its parameters may name the host's secrets and stay outside. Pure."""
    metadata: Object = {"name": objects.name(host_class)}
    default = objects.annotations(host_class).get(DEFAULT_CLASS)
    if default:
        metadata["annotations"] = {DEFAULT_CLASS: default}
    kept = {field: host_class[field] for field in CLASS_FIELDS if field in host_class}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata, **kept}


def is_allowed(name: str, allowed: Sequence[str]) -> bool:
    """Whether tenants may name a StorageClass of the host."""
    return "*" in allowed or name in allowed


async def follow_storage_classes(
    host: Client, allowed: Sequence[str], want: Callable[[str, list[Object]], None]
) -> None:
    """Tell `want("storage", …)` the StorageClasses to be shown, whenever the host's change.

    Ends at once where the hypervisor may not read them: claims without a class work all the same.
    """
    try:
        await host.list(STORAGECLASSES)
    except Forbidden:
        log.info("StorageClasses of the host cannot be read; none is shown inside")
        return
    informer = Informer(host, STORAGECLASSES, transform=mirrored_with_version)
    changed = asyncio.Event()
    informer.subscribe(lambda key, old, new: changed.set())
    async with asyncio.TaskGroup() as group:
        group.create_task(informer.run())
        await informer.synced()
        while True:
            changed.clear()
            shown = [item for item in informer.list() if is_allowed(objects.name(item), allowed)]
            want("storage", [mirrored_class(item) for item in shown])
            await changed.wait()


def mirrored_with_version(host_class: Object) -> Object:
    """Reduce a host StorageClass to what a cache needs of it."""
    version = objects.metadata(host_class).get("resourceVersion")
    mirror = mirrored_class(host_class)
    return mirror | {"metadata": mirror["metadata"] | {"resourceVersion": version}}
