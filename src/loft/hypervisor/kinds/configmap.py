"""ConfigMap: only those that a synced Pod uses are on the host, and nothing comes back."""

from __future__ import annotations

from loft.core.resource import CONFIGMAPS
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Copy, Mapping
from loft.hypervisor.core.objects import Object


def is_used(virtual: Object, context: Context) -> bool:
    """Sync what a synced Pod names; a tenant's other configuration never leaves the virtual cluster."""
    return context.used


CONFIGMAP = Mapping(
    resource=CONFIGMAPS,
    to_host=(Copy("{data,binaryData,immutable}"),),
    wanted=is_used,
)
