"""What is still to be done for a virtual cluster, decided from what is observed. Pure.

Made: finalizer first (nothing is created that would not be removed again), then the release, then the objects
inside. Removed: release, control plane pods gone (they would make again what is deleted), volumes and leftovers,
then the finalizer.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from loft.api.virtualcluster import VirtualCluster
from loft.core.action import Action, Delete, Patch
from loft.core.resource import PODS, VIRTUALCLUSTERS, Resource
from loft.tenancy.virtualcluster.release import release_name
from loft.tenancy.virtualcluster.values import Composed, Facts, Refusal, compose

Object = dict[str, Any]

FINALIZER = "loft.sh/virtual-cluster"
OBJECTS_APPLIED = "loft.sh/objects-applied"
"""Annotation: digest of spec.objects as they were applied last."""
DIGEST_LABEL = "loft.sh/values-digest"
"""Label on the Secret in which Helm keeps the release."""
MANAGED_BY = "vcluster.loft.sh/managed-by"
"""Label of host objects that the hypervisor made, with the name of the virtual cluster."""
POLL_S = 0.3
STARTING_S = 2.0
REMOVAL_GRACE_S = 20
"""Pods of a virtual cluster that is deleted get no more time than this, whatever their tenants wrote."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """The newest revision of a Helm release, as its Secret says."""

    status: str
    digest: str
    secret: str
    uid: str


class Leftover(msgspec.Struct, frozen=True, kw_only=True):
    """An object in the namespace that belongs to the virtual cluster and to no release."""

    resource: Resource
    name: str
    uid: str
    is_store: bool = False
    """A volume of the control plane's own store."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a decision depends on."""

    virtual_cluster: VirtualCluster
    namespace_is_going: bool = False
    is_shared: bool = False
    """Whether another virtual cluster that stays has the same release: a deletion leaves it to that one."""
    is_taken: bool = False
    """Whether an older one has it: then there is nothing to be done here."""
    release: Release | None = None
    deployed_digest: str = ""
    """Digest that this process saw deployed; the release need not be read again while it is the wanted one."""
    stateful_set: Object | None = None
    failure: str = ""
    """What Helm said when it failed last."""
    retry_in_s: float = 0.0
    """Seconds until a failed deployment may be tried again."""
    objects_failure: str = ""
    control_plane_pods: tuple[str, ...] = ()
    leftovers: tuple[Leftover, ...] = ()


class Deploy(msgspec.Struct, frozen=True, kw_only=True):
    """Run Helm."""

    values: Object
    digest: str


class Uninstall(msgspec.Struct, frozen=True):
    """Remove the release."""


class DropRevision(msgspec.Struct, frozen=True):
    """Forget a revision that was being made when its maker died; Helm would refuse to go on for ever."""

    secret: str
    uid: str


class ApplyObjects(msgspec.Struct, frozen=True):
    """Apply spec.objects inside."""

    manifests: str
    digest: str


class RemoveDeployer(msgspec.Struct, frozen=True):
    """Take the deployer's rights away, if no other virtual cluster of the namespace needs them."""


Step = Action | Deploy | Uninstall | DropRevision | ApplyObjects | RemoveDeployer


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and when to look again without anybody telling."""

    steps: tuple[Step, ...] = ()
    again_s: float | None = None
    wanted: Composed | Refusal | None = None


def needs_release(observed: Observed, facts: Facts) -> bool:
    """Tell whether the release must be read before deciding; while all is as it was seen before, it need not."""
    if observed.virtual_cluster.metadata.deletion_timestamp:
        return not observed.namespace_is_going and not observed.is_shared
    if observed.is_taken:
        return False
    wanted = compose(observed.virtual_cluster.spec, facts)
    if isinstance(wanted, Refusal) or observed.retry_in_s > 0:
        return False
    return observed.deployed_digest != wanted.digest or observed.stateful_set is None


def plan(observed: Observed, facts: Facts) -> Decision:
    """Return the next steps."""
    if observed.virtual_cluster.metadata.deletion_timestamp:
        return _removal(observed, keeps_volumes=_keeps_volumes(observed.virtual_cluster, facts))
    cluster = observed.virtual_cluster
    wanted = taken(cluster) if observed.is_taken else compose(cluster.spec, facts)
    if isinstance(wanted, Refusal):
        # The older one may go, and leave its release.
        return Decision(wanted=wanted, again_s=STARTING_S if observed.is_taken else None)
    if FINALIZER not in cluster.metadata.finalizers:
        return Decision(steps=(add_finalizer(cluster),), wanted=wanted)
    if not is_deployed(observed, wanted):
        if observed.retry_in_s > 0:
            return Decision(again_s=observed.retry_in_s, wanted=wanted)
        deploy = Deploy(values=wanted.values, digest=wanted.digest)
        release = observed.release
        if release is not None and release.status.startswith("pending"):
            return Decision(steps=(DropRevision(release.secret, release.uid), deploy), wanted=wanted)
        return Decision(steps=(deploy,), wanted=wanted)
    if not is_ready(observed.stateful_set):
        return Decision(wanted=wanted, again_s=STARTING_S)
    step = objects_step(cluster)
    if step is not None and observed.retry_in_s > 0:
        return Decision(wanted=wanted, again_s=observed.retry_in_s)
    return Decision(steps=(step,) if step else (), wanted=wanted)


def taken(cluster: VirtualCluster) -> Refusal:
    """Return why a virtual cluster waits whose release belongs to an older one."""
    return Refusal("ReleaseTaken", f"another virtual cluster of this namespace runs release {release_name(cluster)}")


def objects_step(cluster: VirtualCluster) -> ApplyObjects | None:
    """Return the step that applies spec.objects, None when they were applied as they are now."""
    manifests = cluster.spec.objects
    digest = hashlib.sha256(manifests.encode()).hexdigest()[:40] if manifests.strip() else ""
    if not digest or cluster.metadata.annotations.get(OBJECTS_APPLIED) == digest:
        return None
    return ApplyObjects(manifests, digest)


def objects_applied(cluster: VirtualCluster, digest: str) -> Patch:
    """Return the note that the objects of this digest are applied."""
    metadata = cluster.metadata
    patch = {"metadata": {"annotations": {OBJECTS_APPLIED: digest}}}
    return Patch(VIRTUALCLUSTERS, metadata.namespace, metadata.name, patch, uid=metadata.uid)


def is_deployed(observed: Observed, wanted: Composed) -> bool:
    """Tell whether Helm has finished with exactly these values, and nobody has deleted the outcome."""
    if observed.release is None:
        return observed.deployed_digest == wanted.digest and observed.stateful_set is not None
    if observed.release.digest != wanted.digest or observed.release.status != "deployed":
        return False
    # The release is there but the StatefulSet is not: deleted by hand, unless its informer is only behind Helm.
    return observed.stateful_set is not None or observed.deployed_digest == wanted.digest


def is_deployed_already(observed: Observed, wanted: Composed | Refusal | None) -> bool:
    """Tell whether the release that was read is the wanted one and complete; worth remembering."""
    return (
        isinstance(wanted, Composed)
        and observed.release is not None
        and observed.stateful_set is not None
        and is_deployed(observed, wanted)
    )


def add_finalizer(cluster: VirtualCluster) -> Patch:
    """Return the write that keeps the object until all it made is removed."""
    return _finalizers(cluster, [*cluster.metadata.finalizers, FINALIZER])


def is_ready(stateful_set: Object | None) -> bool:
    """Tell whether a pod of the control plane serves."""
    return bool(stateful_set and int((stateful_set.get("status") or {}).get("readyReplicas") or 0) > 0)


def _keeps_volumes(cluster: VirtualCluster, facts: Facts) -> bool:
    wanted = compose(cluster.spec, facts)
    storage = wanted.values.get("storage") if isinstance(wanted, Composed) else None
    return isinstance(storage, dict) and storage.get("retentionPolicy") == "Retain"


def _removal(observed: Observed, *, keeps_volumes: bool) -> Decision:
    cluster = observed.virtual_cluster
    if FINALIZER not in cluster.metadata.finalizers:
        return Decision()
    kept = [name for name in cluster.metadata.finalizers if name != FINALIZER]
    done = _finalizers(cluster, kept)
    if observed.is_shared:
        return Decision(steps=(done,))
    if observed.namespace_is_going:
        # The namespace controller deletes all there is, and nothing new can be made any more, a token neither.
        return Decision(steps=(done,))
    if observed.release is not None:
        return Decision(steps=(Uninstall(),), again_s=0.0)
    if observed.control_plane_pods:
        return Decision(again_s=POLL_S)
    leftovers = [item for item in observed.leftovers if not (keeps_volumes and item.is_store)]
    if leftovers:
        return Decision(steps=tuple(_delete(cluster, item) for item in leftovers), again_s=POLL_S)
    return Decision(steps=(RemoveDeployer(), done))


def _delete(cluster: VirtualCluster, item: Leftover) -> Delete:
    # Deleting again what is going already changes nothing, but that a longer grace of a tenant's Pod becomes shorter.
    grace_s = REMOVAL_GRACE_S if item.resource == PODS else None
    return Delete(
        item.resource, cluster.metadata.namespace, item.name, item.uid, grace_s=grace_s, propagation="Background"
    )


def is_volume_of(name: str, claim: str) -> bool:
    """Tell whether a PersistentVolumeClaim is one of the StatefulSet's: data-NAME-<ordinal>."""
    ordinal = claim.removeprefix(f"data-{name}-")
    return claim != ordinal and ordinal.isdecimal()


def _finalizers(cluster: VirtualCluster, finalizers: list[str]) -> Patch:
    metadata = cluster.metadata
    # A list is replaced as a whole: the resource version sees to it that nobody's entry is lost.
    patch = {"metadata": {"finalizers": finalizers or None, "resourceVersion": metadata.resource_version}}
    return Patch(VIRTUALCLUSTERS, metadata.namespace, metadata.name, patch, uid=metadata.uid)
