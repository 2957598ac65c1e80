"""Volumes on this machine's disk: StorageClass `local-path` and its provisioner.

The plans are pure: a claim or a volume in, directories and writes out. A directory is named by the claim's uid
only, so no name that a user chose ever becomes part of a path. Data is removed before its volume: after an
interruption the volume is still there and removal goes on. Capacity is not enforced.
Source: kubernetes.io, "Dynamic Volume Provisioning"; the protocol of external provisioners (annotations of
claims and volumes, finalizers).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec

from loft.core.action import Action, Create, Delete, Event, Patch
from loft.core.resource import PVCS, PVS, STORAGECLASSES
from loft.embedded.layout import Layout
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists, Conflict, NotFound
from loft.kube.execute import Executor
from loft.kube.informer import Informer

CLASS = "local-path"
PROVISIONER = "loft.sh/local-path"
FINALIZER = "loft.sh/local-path"
"""Keeps a volume that somebody deletes until its data is gone."""
PROTECTION = "kubernetes.io/pv-protection"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Object = dict[str, Any]


def manifests() -> list[Object]:
    """Return the StorageClass; it is the default one and binds when the first pod is scheduled."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ]


class Place(msgspec.Struct, frozen=True):
    """Where volumes lie."""

    storage: Path
    """Directory below which each volume has its own; only root may look into it."""
    node: str
    """The node whose disk it is."""


class Work(msgspec.Struct, frozen=True):
    """What one claim or volume needs, in this order."""

    make: str = ""
    """Name of a directory to make."""
    remove: str = ""
    """Name of a directory to remove with its content."""
    actions: tuple[Action, ...] = ()


def plan_claim(claim: Object, volume: Object | None, storage_class: Object | None, place: Place) -> Work:
    """Return what an unbound claim needs once its pod has a node.

    Args:
        claim: the PersistentVolumeClaim.
        volume: the PersistentVolume made for it, if there is one.
        storage_class: the claim's class, if there is one of that name.
        place: where volumes lie.
    """
    metadata, spec = claim["metadata"], claim.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    ours = annotations.get("volume.kubernetes.io/storage-provisioner") == PROVISIONER
    if not ours or storage_class is None or storage_class.get("provisioner") != PROVISIONER:
        return Work()
    if volume or spec.get("volumeName") or metadata.get("deletionTimestamp") or not _UID.fullmatch(metadata["uid"]):
        return Work()
    waits = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    if annotations.get(SELECTED_NODE, "" if waits else place.node) != place.node:
        return Work()
    if refusal := _refusal(spec, storage_class):
        return Work(actions=(Event(claim, "ProvisioningFailed", refusal, "Warning"),))
    name = f"pvc-{metadata['uid']}"
    return Work(make=name, actions=(Create(PVS, _volume(name, claim, storage_class, place)),))


def _refusal(spec: Object, storage_class: Object) -> str:
    """Return why a claim gets no volume, "" when it does: what is not supported is never left out silently."""
    source = spec.get("dataSourceRef") or spec.get("dataSource")
    if source:
        return f"local-path cannot fill a volume from a {source.get('kind')}; leave dataSource out"
    if spec.get("volumeMode") == "Block":
        return "local-path has no volumes of volumeMode Block; use Filesystem"
    if spec.get("selector"):
        return "local-path makes volumes and cannot select existing ones; leave selector out, or set volumeName"
    if spec.get("volumeAttributesClassName"):
        return "local-path knows no volume attributes; leave volumeAttributesClassName out"
    if storage_class.get("mountOptions") or storage_class.get("parameters"):
        name = storage_class["metadata"]["name"]
        return f"local-path takes neither mountOptions nor parameters; remove them from the StorageClass {name}"
    return ""


def _volume(name: str, claim: Object, storage_class: Object, place: Place) -> Object:
    metadata, spec = claim["metadata"], claim["spec"]
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [place.node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}, "finalizers": [FINALIZER]},
        "spec": {
            "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "local": {"path": str(place.storage / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": "Filesystem",
        },
    }


def plan_volume(volume: Object, place: Place) -> Work:
    """Return what a volume of ours needs when its claim is gone, or when somebody deleted it."""
    metadata, spec = volume["metadata"], volume.get("spec") or {}
    name = metadata["name"]
    ours = (metadata.get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER
    if not ours or not _UID.fullmatch(name.removeprefix("pvc-")):
        return Work()
    if (spec.get("local") or {}).get("path") != str(place.storage / name):
        return Work()
    data = name if spec.get("persistentVolumeReclaimPolicy") == "Delete" else ""
    finalizers = metadata.get("finalizers") or []
    if metadata.get("deletionTimestamp"):
        if PROTECTION in finalizers or FINALIZER not in finalizers:
            return Work()
        at = f"/metadata/finalizers/{finalizers.index(FINALIZER)}"
        free = [{"op": "test", "path": at, "value": FINALIZER}, {"op": "remove", "path": at}]
        return Work(remove=data, actions=(Patch(PVS, "", name, free, kind="json", uid=metadata["uid"]),))
    if data and (volume.get("status") or {}).get("phase") == "Released":
        return Work(remove=data, actions=(Delete(PVS, "", name, uid=metadata["uid"]),))
    return Work()


class Provisioner:
    """Watches claims, volumes and classes, and does what the plans say."""

    def __init__(self, client: Client, place: Place) -> None:
        self._client = client
        self._place = place
        self._claims = Informer(client, PVCS)
        self._volumes = Informer(client, PVS)
        self._classes = Informer(client, STORAGECLASSES)
        self._executor = Executor(client, component="local-path")
        self._controller = Controller("local-path", self._reconcile, workers=2)

    async def run(self) -> None:
        """Provision and remove volumes until cancelled."""
        self._place.storage.mkdir(parents=True, exist_ok=True)
        # Volumes are open to every user of a container; other users of this machine must not get that far.
        self._place.storage.chmod(0o700)
        informers = (self._claims, self._volumes, self._classes)
        for informer in (self._claims, self._volumes):
            informer.subscribe(lambda key, _old, _new: self._controller.enqueue(key))
        self._classes.subscribe(lambda _key, _old, _new: self._look_at_claims())
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run())
            for informer in informers:
                await informer.synced()
            group.create_task(self._controller.run())

    def _look_at_claims(self) -> None:
        for claim in self._claims.list():
            if not (claim.get("spec") or {}).get("volumeName"):
                self._controller.enqueue(f"{claim['metadata']['namespace']}/{claim['metadata']['name']}")

    async def _reconcile(self, key: str) -> None:
        with contextlib.suppress(AlreadyExists):
            await self._do(await self._plan(key))

    async def _plan(self, key: str) -> Work:
        if "/" in key:
            claim = self._claims.get(key)
            if claim is None:
                return Work()
            storage_class = self._classes.get((claim.get("spec") or {}).get("storageClassName") or "")
            return plan_claim(claim, self._volumes.get(f"pvc-{claim['metadata']['uid']}"), storage_class, self._place)
        volume = self._volumes.get(key)
        work = plan_volume(volume, self._place) if volume else Work()
        if not work.remove:
            return work
        # Data is never removed on the word of a cache: the volume may have been given a claim or another policy.
        try:
            return plan_volume(await self._client.get(PVS, key), self._place)
        except NotFound:
            return Work()

    async def _do(self, work: Work) -> None:
        if work.make:
            path = self._place.storage / work.make
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
        if work.remove:
            await asyncio.to_thread(_remove, self._place.storage / work.remove)
        try:
            await self._executor.execute(work.actions)
        except (Conflict, NotFound):
            # The object moved on meanwhile; its change enqueues it again.
            return


def _remove(path: Path) -> None:
    """Remove a directory that may be gone already. Raises: OSError, and the volume stays for another try."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


async def run(client: Client, layout: Layout) -> None:
    """Provision and remove volumes of a cluster until cancelled."""
    await Provisioner(client, Place(layout.storage, layout.node_name)).run()
