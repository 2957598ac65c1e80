"""VolumeSnapshot: of a synced claim, taken by the host's driver; whether it is ready comes back.

The kind is no part of Kubernetes: where the host has it, its definition is put inside as well. The content that
belongs to it stays on the host, for it holds handles of the host's storage.
Source: kubernetes.io/docs/concepts/storage/volume-snapshots.
"""

from __future__ import annotations

from typing import Any

from loft.core.resource import Resource
from loft.hypervisor.core.baseline import unset
from loft.hypervisor.core.mapping import ABSENT, At, Compute, Copy, Guard, Mapping, Ref, Refused
from loft.hypervisor.kinds.pod_status import text

GROUP = "snapshot.storage.k8s.io"
VOLUMESNAPSHOTS = Resource(GROUP, "v1", "volumesnapshots", "VolumeSnapshot")
_CONTENT = "contents of the host cannot be picked; name a PersistentVolumeClaim"


def class_name(value: Any, at: At) -> Any:
    """Let a class cross that is offered; without one the host's default is used."""
    if value is ABSENT:
        return ABSENT
    allowed = at.scope.context.settings.snapshot_classes
    if "*" not in allowed and value not in allowed:
        raise Refused("", f"this class is not offered here; offered: {', '.join(allowed) or 'the default only'}")
    return value


VOLUMESNAPSHOT = Mapping(
    resource=VOLUMESNAPSHOTS,
    to_host=(
        Ref("spec.source.persistentVolumeClaimName", "PersistentVolumeClaim"),
        Guard("spec.source.volumeSnapshotContentName", unset, _CONTENT),
        Compute("spec.volumeSnapshotClassName", class_name),
    ),
    to_virtual=(
        Copy("status.{readyToUse,creationTime,restoreSize}"),
        Copy("status.error.time"),
        Compute("status.error.message", text),
    ),
    gated=True,
    whole=True,
)
