"""The provisioner's decisions; tests/integration/embedded lets a real cluster bind."""

import copy
from pathlib import Path

import pytest

from loft.core.action import Create, Delete, Event, Patch
from loft.embedded.addons.localpath import FINALIZER, PROTECTION, PROVISIONER, Place, Work, plan_claim, plan_volume

UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NAME = f"pvc-{UID}"
PLACE = Place(Path("/storage"), "node")
CLASS = {
    "metadata": {"name": "local-path"},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
}
SELECTED = "volume.kubernetes.io/selected-node"
BY = "volume.kubernetes.io/storage-provisioner"


def claim(**changes):
    made = {
        "metadata": {
            "name": "../../etc",
            "namespace": "n",
            "uid": UID,
            "annotations": {SELECTED: "node", BY: PROVISIONER},
        },
        "spec": {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]},
    }
    for path, value in changes.items():
        part, _, key = path.partition("__")
        made[part][key] = value
    return made


def test_a_claim_with_a_node_gets_a_directory_named_by_its_uid_only():
    work = plan_claim(claim(), None, CLASS, PLACE)
    assert work.make == NAME
    (create,) = work.actions
    assert isinstance(create, Create)
    assert create.body["spec"]["local"]["path"] == f"/storage/{NAME}"
    assert create.body["spec"]["claimRef"]["uid"] == UID
    assert create.body["metadata"]["finalizers"] == [FINALIZER]


@pytest.mark.parametrize(
    "one",
    [
        claim(metadata__annotations={BY: PROVISIONER}),
        claim(metadata__annotations={BY: PROVISIONER, SELECTED: "elsewhere"}),
        claim(metadata__annotations={SELECTED: "node"}),
        claim(metadata__annotations={SELECTED: "node", BY: "other"}),
        claim(spec__volumeName="bound"),
        claim(metadata__deletionTimestamp="2026-01-01T00:00:00Z"),
        claim(metadata__uid="../../x"),
    ],
    ids=[
        "no node yet",
        "another node",
        "no provisioner yet",
        "another provisioner",
        "bound",
        "being deleted",
        "bad uid",
    ],
)
def test_other_claims_are_left_alone(one):
    assert plan_claim(one, None, CLASS, PLACE) == Work()


def test_a_claim_with_its_volume_is_done():
    assert plan_claim(claim(), {"metadata": {}}, CLASS, PLACE) == Work()


@pytest.mark.parametrize("storage_class", [None, CLASS | {"provisioner": "other"}], ids=["no class", "another's class"])
def test_an_annotation_alone_makes_no_volume(storage_class):
    assert plan_claim(claim(), None, storage_class, PLACE) == Work()


def test_a_class_that_binds_at_once_needs_no_node():
    one = claim(metadata__annotations={BY: PROVISIONER})
    assert plan_claim(one, None, CLASS | {"volumeBindingMode": "Immediate"}, PLACE).make == NAME


def test_the_reclaim_policy_is_the_classes():
    (create,) = plan_claim(claim(), None, CLASS | {"reclaimPolicy": "Retain"}, PLACE).actions
    assert create.body["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


@pytest.mark.parametrize(
    ("one", "storage_class", "word"),
    [
        (claim(spec__volumeMode="Block"), CLASS, "Block"),
        (claim(spec__dataSource={"kind": "VolumeSnapshot", "name": "s"}), CLASS, "VolumeSnapshot"),
        (claim(spec__dataSourceRef={"kind": "PersistentVolumeClaim", "name": "s"}), CLASS, "dataSource"),
        (claim(spec__selector={"matchLabels": {"a": "b"}}), CLASS, "selector"),
        (claim(spec__volumeAttributesClassName="fast"), CLASS, "volumeAttributesClassName"),
        (claim(), CLASS | {"mountOptions": ["noatime"]}, "mountOptions"),
        (claim(), CLASS | {"parameters": {"path": "/etc"}}, "parameters"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(one, storage_class, word):
    work = plan_claim(one, None, storage_class, PLACE)
    assert (work.make, work.remove) == ("", "")
    (event,) = work.actions
    assert isinstance(event, Event)
    assert event.type == "Warning"
    assert word in event.message


def volume(phase="Released", policy="Delete", by=PROVISIONER, name=NAME, path=f"/storage/{NAME}", **metadata):
    return {
        "metadata": {
            "name": name,
            "uid": "u",
            "annotations": {"pv.kubernetes.io/provisioned-by": by},
            "finalizers": [PROTECTION, FINALIZER],
        }
        | metadata,
        "spec": {"persistentVolumeReclaimPolicy": policy, "local": {"path": path}},
        "status": {"phase": phase},
    }


def test_a_released_volume_goes_after_its_data():
    work = plan_volume(volume(), PLACE)
    assert work.remove == NAME
    (delete,) = work.actions
    assert isinstance(delete, Delete)
    assert delete.uid == "u"


@pytest.mark.parametrize(
    "one",
    [
        volume(phase="Bound"),
        volume(phase="Available"),
        volume(policy="Retain"),
        volume(by="other"),
        volume(name="pvc-../.."),
        volume(path="/etc"),
        volume(path=f"/storage/../storage/{NAME}"),
    ],
    ids=[
        "bound",
        "given back",
        "retained",
        "of another provisioner",
        "strange name",
        "another path",
        "roundabout path",
    ],
)
def test_other_volumes_are_left_alone(one):
    assert plan_volume(one, PLACE) == Work()


@pytest.mark.parametrize(("policy", "removed"), [("Delete", NAME), ("Retain", "")])
def test_a_deleted_volume_is_let_go_after_its_data(policy, removed):
    one = volume(phase="Bound", policy=policy, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["x", FINALIZER])
    before = copy.deepcopy(one)
    work = plan_volume(one, PLACE)
    assert work.remove == removed
    (patch,) = work.actions
    assert isinstance(patch, Patch)
    assert patch.uid == "u"
    assert patch.patch[-1] == {"op": "remove", "path": "/metadata/finalizers/1"}
    assert one == before


def test_a_deleted_volume_that_is_bound_keeps_its_data():
    assert plan_volume(volume(phase="Bound", deletionTimestamp="2026-01-01T00:00:00Z"), PLACE) == Work()
