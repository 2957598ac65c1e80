"""Classes of the host that tenants may name: shown inside, read-only, as far as the settings offer them.

What a class means stays outside: parameters can name the host's secrets and servers, and are nobody's business.
"""

from __future__ import annotations

from typing import Any

from loft.core.resource import INGRESSCLASSES, PRIORITYCLASSES, STORAGECLASSES, Resource
from loft.hypervisor.core.mapping import ABSENT, At, Copy
from loft.hypervisor.core.reflection import Reflection, is_allowed

VOLUMESNAPSHOTCLASSES = Resource(
    "snapshot.storage.k8s.io", "v1", "volumesnapshotclasses", "VolumeSnapshotClass", namespaced=False
)


def priority_class(value: Any, at: At) -> Any:
    """Let a Pod's class cross that is offered; of another, a Pod has the host's default priority there."""
    allowed = at.scope.context.settings.priority_classes
    return value if value is not ABSENT and is_allowed(value, allowed) else ABSENT


STORAGECLASS = Reflection(
    resource=STORAGECLASSES,
    rules=(Copy("{provisioner,reclaimPolicy,volumeBindingMode,allowVolumeExpansion}"),),
    allowed=lambda settings: settings.storage_classes,
    annotations=("storageclass.kubernetes.io/is-default-class",),
    immutable=("provisioner", "reclaimPolicy", "volumeBindingMode"),
)

INGRESSCLASS = Reflection(
    resource=INGRESSCLASSES,
    rules=(Copy("spec.controller"),),
    allowed=lambda settings: settings.ingress_classes,
    annotations=("ingressclass.kubernetes.io/is-default-class",),
    immutable=("spec",),
)

PRIORITYCLASS = Reflection(
    resource=PRIORITYCLASSES,
    # Not globalDefault: there can be one only, and the tenant's own may be there.
    rules=(Copy("{value,preemptionPolicy,description}"),),
    allowed=lambda settings: settings.priority_classes,
    immutable=("value", "preemptionPolicy"),
)

VOLUMESNAPSHOTCLASS = Reflection(
    resource=VOLUMESNAPSHOTCLASSES,
    rules=(Copy("{driver,deletionPolicy}"),),
    allowed=lambda settings: settings.snapshot_classes,
    annotations=("snapshot.storage.kubernetes.io/is-default-class",),
)

REFLECTIONS: dict[str, Reflection] = {
    reflection.key: reflection for reflection in (INGRESSCLASS, PRIORITYCLASS, STORAGECLASS, VOLUMESNAPSHOTCLASS)
}
