"""What is synced: one declarative file for each kind. A kind that is not here never leaves its cluster."""

from __future__ import annotations

from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.translate import references as references_by_rule
from loft.hypervisor.kinds.configmap import CONFIGMAP
from loft.hypervisor.kinds.endpointslice import ENDPOINTSLICE
from loft.hypervisor.kinds.ingress import INGRESS
from loft.hypervisor.kinds.networkpolicy import NETWORKPOLICY
from loft.hypervisor.kinds.persistentvolumeclaim import PERSISTENTVOLUMECLAIM
from loft.hypervisor.kinds.pod import POD
from loft.hypervisor.kinds.poddisruptionbudget import PODDISRUPTIONBUDGET
from loft.hypervisor.kinds.secret import SECRET
from loft.hypervisor.kinds.service import SERVICE
from loft.hypervisor.kinds.storageclass import STORAGECLASS_TO_HOST, TO_HOST
from loft.hypervisor.kinds.volumesnapshot import VOLUMESNAPSHOT

REGISTRY: dict[str, Mapping] = {
    mapping.key: mapping
    for mapping in (
        CONFIGMAP,
        ENDPOINTSLICE,
        INGRESS,
        NETWORKPOLICY,
        PERSISTENTVOLUMECLAIM,
        POD,
        PODDISRUPTIONBUDGET,
        SECRET,
        SERVICE,
        STORAGECLASS_TO_HOST,
        VOLUMESNAPSHOT,
    )
}
"""Kinds with a host object for each virtual one; Node and Event come from the host and have plans of their own."""


def references(mapping: Mapping, virtual: Object) -> list[tuple[str, str]]:
    """Return (kind, name) of the objects that a virtual object uses, each once, in order."""
    named = mapping.references(virtual) if mapping.references else []
    return list(dict.fromkeys([*named, *references_by_rule(mapping.named_tree, virtual)]))


def issued(mapping: Mapping, virtual: Object) -> list[str]:
    """Return the names of the Secrets that a controller of the host makes for a virtual object, each once, in order."""
    named = mapping.issues(virtual) if mapping.issues else []
    return list(dict.fromkeys([*named, *(name for _, name in references_by_rule(mapping.issued_tree, virtual))]))


def reference_key(kind: str, namespace: str, name: str) -> str:
    """Return the key of an object that one of a namespace refers to."""
    return name if kind == TO_HOST else f"{namespace}/{name}"
