"""PersistentVolumeClaim: the claim goes to the host, which provisions and binds; a virtual volume shows the result.

The virtual PersistentVolume only makes `kubectl get pv` and the claim's binding true: it has the host volume's name
and no power, for Pods name claims, and claims are what crosses. Its life follows its claim.
Source: kubernetes.io/docs/concepts/storage/persistent-volumes.
"""

from __future__ import annotations

from typing import Any

from loft.core.action import Create, Delete, Event, Patch
from loft.core.diff import covers
from loft.core.resource import PVCS, PVS
from loft.hypervisor.core import objects
from loft.hypervisor.core.baseline import unset
from loft.hypervisor.core.body import host_patch
from loft.hypervisor.core.mapping import ABSENT, At, Compute, Copy, Guard, HostPatch, Mapping, Pair, Refused
from loft.hypervisor.core.objects import PREFIX, Object
from loft.hypervisor.core.plan import status_patch
from loft.hypervisor.core.side import Step, on_virtual
from loft.hypervisor.core.translate import referred
from loft.hypervisor.kinds.storageclass import TO_HOST, class_of
from loft.hypervisor.kinds.volumesnapshot import GROUP

HOST_VOLUME = PREFIX + "host-volume"
"""Mark on a virtual PersistentVolume that stands for a host volume."""
DRIVER = "vcluster.loft.sh"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"


def is_bound(claim: Object) -> bool:
    """Whether the claim has had a volume; from then on class and volume are what the host chose."""
    return objects.status(claim).get("phase") in ("Bound", "Lost")


def storage_class(value: Any, at: At) -> Any:
    """Let a class cross that the host allows; without one the host's default class is used."""
    own = f"{TO_HOST}/{value}"
    if own in at.scope.context.host_names:
        return at.scope.context.host_names[own]
    if value is ABSENT or is_bound(at.scope.source):
        return value
    allowed = at.scope.context.settings.storage_classes
    if value == "":
        raise Refused("", "a claim without a class could bind any free volume of the host; leave the field out")
    if "*" not in allowed and value not in allowed:
        raise Refused("", f"this class is not offered here; offered: {', '.join(allowed) or 'the default only'}")
    return value


def volume_name(value: Any, at: At) -> Any:
    """Refuse a volume picked by the tenant; after binding the name is ours and needs no crossing."""
    if value is ABSENT or value == "" or is_bound(at.scope.source):
        return ABSENT
    raise Refused("", "volumes of the host cannot be picked by name")


def data_source(value: Any, at: At) -> Any:
    """Let a claim be made from another claim, or a snapshot of one, of the same namespace."""
    if value is ABSENT:
        return ABSENT
    if value.get("kind") == "VolumeSnapshot" and value.get("apiGroup") == GROUP and not value.get("namespace"):
        return {
            "apiGroup": GROUP,
            "kind": "VolumeSnapshot",
            "name": referred("VolumeSnapshot", value["name"], at.scope),
        }
    if value.get("kind") != "PersistentVolumeClaim" or value.get("apiGroup") or value.get("namespace"):
        raise Refused("", "only a PersistentVolumeClaim or VolumeSnapshot of the same namespace can be cloned")
    return {"kind": "PersistentVolumeClaim", "name": at.scope.names.host(at.scope.namespace, value["name"])}


def update(wanted: Object, host: Object, mapping: Mapping) -> list[HostPatch]:
    """Change labels, marks and the requested size; the rest of a claim is immutable."""
    change = host_patch(wanted, host, mapping)
    size = (change.pop("spec", None) or {}).get("resources")
    if size:
        change["spec"] = {"resources": size}
    return [("merge", "", change)] if change else []


def lifecycle(pair: Pair) -> list[Step] | None:
    """Let a claim wait for the tenant's class that it names, and say so when a bound one is gone from the host.

    Its data is gone then, so nothing new takes its place in silence.
    """
    virtual = pair.virtual
    if pair.host is not None:
        return None
    if not is_bound(virtual):
        waits = any(pair.context.host_names.get(f"{kind}/{name}") == "" for kind, name in class_of(virtual))
        return [] if waits else None
    if objects.status(virtual).get("phase") == "Lost" or objects.is_deleting(virtual):
        return []
    message = "the claim was deleted on the host cluster, and its volume with it; delete this claim to start anew"
    return [
        on_virtual(status_patch(PERSISTENTVOLUMECLAIM, virtual, {"phase": "Lost"})),
        on_virtual(Event(virtual, "ClaimLost", message, "Warning")),
    ]


def back(pair: Pair) -> list[Step] | None:
    """Bring phase, capacity and volume back: first the volume, then the claim's spec, then its status."""
    virtual, host = pair.virtual, pair.host
    if host is None:
        return []
    status = objects.status(host)
    steps = []
    change: Object = {}
    volume = objects.spec(host).get("volumeName")
    if status.get("phase") == "Bound" and volume:
        steps = _volume(pair, volume)
        if not objects.spec(virtual).get("volumeName"):
            change["volumeName"] = volume
    host_class = objects.spec(host).get("storageClassName")
    # A claim without a class shows the one that the host chose; one of the tenant's has it from the beginning.
    if host_class and objects.spec(virtual).get("storageClassName") is None:
        change["storageClassName"] = host_class
    if change:
        metadata = {"uid": objects.uid(virtual), "annotations": {BIND_COMPLETED: "yes"} if volume else {}}
        body = {"metadata": metadata, "spec": change}
        name, namespace, uid = objects.name(virtual), objects.namespace(virtual), objects.uid(virtual)
        steps.append(on_virtual(Patch(PVCS, namespace, name, body, uid=uid)))
    wanted: Object = {field: status[field] for field in ("phase", "accessModes", "capacity") if field in status}
    if not covers(objects.status(virtual), wanted):
        steps.append(on_virtual(status_patch(PERSISTENTVOLUMECLAIM, virtual, wanted)))
    return steps


def _volume(pair: Pair, name: str) -> list[Step]:
    volume = pair.context.volume
    if volume is None:
        return [on_virtual(Create(PVS, volume_body(pair, name))), on_virtual(_phase(name, "Bound"))]
    if is_ours(volume) and objects.status(volume).get("phase") != "Bound":
        return [on_virtual(_phase(name, "Bound"))]
    return []


def _phase(name: str, phase: str) -> Patch:
    return Patch(PVS, "", name, {"status": {"phase": phase}}, subresource="status")


def volume_body(pair: Pair, name: str) -> Object:
    """Return the virtual PersistentVolume for a bound host claim; only what the claim itself tells goes in."""
    virtual, host = pair.virtual, pair.host
    assert host is not None, "a volume is shown for a host claim only"
    spec = objects.spec(host)
    body: Object = {
        "capacity": objects.status(host).get("capacity") or {},
        "accessModes": objects.status(host).get("accessModes") or spec.get("accessModes") or [],
        "persistentVolumeReclaimPolicy": "Delete",
        "volumeMode": spec.get("volumeMode") or "Filesystem",
        "csi": {"driver": DRIVER, "volumeHandle": objects.name(host)},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": objects.namespace(virtual),
            "name": objects.name(virtual),
            "uid": objects.uid(virtual),
        },
    }
    shown = objects.spec(virtual).get("storageClassName") or spec.get("storageClassName")
    if shown:
        body["storageClassName"] = shown
    metadata = {"name": name, "annotations": {HOST_VOLUME: name, "pv.kubernetes.io/provisioned-by": DRIVER}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": body}


def is_ours(volume: Object) -> bool:
    """Whether a virtual PersistentVolume was made by us, and not by the tenant."""
    return HOST_VOLUME in objects.annotations(volume)


def claim_key(volume: Object) -> str:
    """Return `namespace/name` of the claim that a volume is bound to, "" when it has none."""
    claim = objects.spec(volume).get("claimRef") or {}
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


def plan_volume(volume: Object, claim: Object | None) -> list[Step]:
    """Return the steps that remove a virtual volume whose claim is gone; a tenant's own volumes stay.

    The protection finalizer of the virtual controller-manager goes only when the volume is no longer Bound.
    """
    wanted = (objects.spec(volume).get("claimRef") or {}).get("uid")
    if not is_ours(volume) or (claim is not None and objects.uid(claim) == wanted):
        return []
    name = objects.name(volume)
    steps = []
    if objects.status(volume).get("phase") == "Bound":
        steps.append(on_virtual(_phase(name, "Released")))
    if not objects.is_deleting(volume):
        steps.append(on_virtual(Delete(PVS, "", name, uid=objects.uid(volume))))
    return steps


PERSISTENTVOLUMECLAIM = Mapping(
    resource=PVCS,
    to_host=(
        Copy("spec.{accessModes,volumeMode}"),
        Copy("spec.resources.{requests,limits}"),
        Compute("spec.storageClassName", storage_class),
        Compute("spec.volumeName", volume_name),
        Compute("spec.{dataSource,dataSourceRef}", data_source),
        Guard("spec.{selector,volumeAttributesClassName}", unset, "the host chooses and tunes volumes by class"),
    ),
    update=update,
    lifecycle=lifecycle,
    references=class_of,
    back=back,
)
