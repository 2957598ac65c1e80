"""StorageClass to the host: a tenant's own classes, where the administrator lets a virtual cluster have them.

A class makes a driver of the host do something with parameters of the tenant, in the name of the whole host. So this
is off by default, needs a right that only the chart's administrator can give, and parameters that name the host's
secrets are refused. Claims of a tenant's class wait until it is on the host, under another name there.
Source: kubernetes-csi.github.io/docs/secrets-and-credentials-storage-class.
"""

from __future__ import annotations

from typing import Any

from loft.core.resource import STORAGECLASSES
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import ABSENT, At, Compute, Copy, Mapping, Refused
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.reflection import is_reflected

TO_HOST = "StorageClassToHost"
"""The kind's key; `StorageClass` is what the host shows inside."""
_SECRET = "parameters that name secrets or namespaces of the host are not for tenants"


def is_own(virtual: Object, context: Context) -> bool:
    """Sync the tenant's own classes, not those that the host shows inside."""
    return not is_reflected(virtual)


def provisioner(value: Any, at: At) -> Any:
    """Return the driver; without an owner that ends with the virtual cluster, a class would be left behind."""
    if at.scope.context.settings.cluster_owner is None:
        raise Refused("", "this virtual cluster may not make classes on the host")
    return value


def parameters(value: Any, at: At) -> Any:
    """Return the driver's parameters."""
    if value is ABSENT:
        return ABSENT
    for key, text in value.items():
        name = key.lower().replace("-", "").replace("_", "")
        if "secret" in name or "namespace" in name or not isinstance(text, str):
            raise Refused(f".{key}", _SECRET)
    return dict(value)


def class_of(claim: Object) -> list[tuple[str, str]]:
    """Return the class that a claim names, as a reference."""
    name = objects.spec(claim).get("storageClassName")
    return [(TO_HOST, name)] if name else []


STORAGECLASS_TO_HOST = Mapping(
    resource=STORAGECLASSES,
    name=TO_HOST,
    to_host=(
        Compute("provisioner", provisioner),
        Copy("{reclaimPolicy,volumeBindingMode,allowVolumeExpansion,mountOptions}"),
        Copy("allowedTopologies[*].matchLabelExpressions[*].{key,values}"),
        Compute("parameters", parameters),
    ),
    wanted=is_own,
    gated=True,
    whole=True,
)
