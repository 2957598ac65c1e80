"""Volumes on this machine's disk: StorageClass `local-path` and its provisioner.

`plan` is pure: claims and volumes in, actions and directories out. A directory is named by the claim's
uid only, so no name that a user chose ever becomes part of a path. Source: kubernetes.io, "Dynamic Volume
Provisioning"; the protocol of external provisioners (annotations and finalizers of claims and volumes).
"""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec

from loft.core.action import Action, Create, Delete
from loft.core.resource import PVCS, PVS
from loft.embedded.layout import Layout
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists
from loft.kube.execute import Executor
from loft.kube.informer import Informer

CLASS = "local-path"
PROVISIONER = "loft.sh/local-path"
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


class Work(msgspec.Struct, frozen=True):
    """What one claim or volume needs: directories first, then writes, then removals."""

    make: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    remove: tuple[str, ...] = ()


def plan_claim(claim: Object, volume: Object | None, storage: Path) -> Work:
    """Return what an unbound claim of our class needs once its pod has a node.

    Args:
        claim: the PersistentVolumeClaim.
        volume: the PersistentVolume named after it, if there is one.
        storage: directory below which volumes are made.
    """
    metadata, spec = claim["metadata"], claim.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    node = annotations.get("volume.kubernetes.io/selected-node")
    ours = annotations.get("volume.kubernetes.io/storage-provisioner") == PROVISIONER
    if volume or not node or not ours or spec.get("volumeName") or metadata.get("deletionTimestamp"):
        return Work()
    if not _UID.fullmatch(metadata["uid"]):
        return Work()
    name = f"pvc-{metadata['uid']}"
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
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
            "local": {"path": str(storage / name)},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
                    ]
                }
            },
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec.get("storageClassName") or CLASS,
            "volumeMode": "Filesystem",
        },
    }
    return Work(make=(name,), actions=(Create(PVS, body),))


def plan_volume(volume: Object) -> Work:
    """Return what a volume of ours needs when its claim is gone."""
    metadata = volume["metadata"]
    annotations = metadata.get("annotations") or {}
    if annotations.get("pv.kubernetes.io/provisioned-by") != PROVISIONER:
        return Work()
    released = (volume.get("status") or {}).get("phase") == "Released"
    policy = (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy")
    name = metadata["name"]
    if not released or policy != "Delete" or not _UID.fullmatch(name.removeprefix("pvc-")):
        return Work()
    return Work(actions=(Delete(PVS, "", name, uid=metadata["uid"]),), remove=(name,))


async def run(client: Client, layout: Layout) -> None:
    """Provision and remove volumes until cancelled."""
    claims, volumes = Informer(client, PVCS), Informer(client, PVS)
    executor = Executor(client, component="local-path")
    controller = Controller("local-path", lambda key: _reconcile(key, claims, volumes, (executor, layout)), workers=2)
    claims.subscribe(lambda key, _old, _new: controller.enqueue(key))
    volumes.subscribe(lambda key, _old, _new: controller.enqueue(key))
    async with asyncio.TaskGroup() as group:
        group.create_task(claims.run())
        group.create_task(volumes.run())
        await claims.synced()
        await volumes.synced()
        group.create_task(controller.run())


async def _reconcile(key: str, claims: Informer, volumes: Informer, shell: tuple[Executor, Layout]) -> None:
    executor, layout = shell
    if "/" in key:
        claim = claims.get(key)
        work = plan_claim(claim, volumes.get(f"pvc-{claim['metadata']['uid']}"), layout.storage) if claim else Work()
    else:
        volume = volumes.get(key)
        work = plan_volume(volume) if volume else Work()
    for name in work.make:
        path = layout.storage / name
        path.mkdir(mode=0o777, exist_ok=True)
        path.chmod(0o777)
    try:
        await executor.execute(work.actions)
    except AlreadyExists:
        return
    for name in work.remove:
        await asyncio.to_thread(shutil.rmtree, layout.storage / name, ignore_errors=True)
