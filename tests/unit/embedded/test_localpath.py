"""The provisioner's decisions."""

from pathlib import Path

import pytest

from loft.core.action import Create, Delete
from loft.embedded.addons.localpath import PROVISIONER, plan_claim, plan_volume

UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
STORAGE = Path("/storage")


def claim(**changes):
    made = {
        "metadata": {
            "name": "../../etc",
            "namespace": "n",
            "uid": UID,
            "annotations": {
                "volume.kubernetes.io/selected-node": "node",
                "volume.kubernetes.io/storage-provisioner": PROVISIONER,
            },
        },
        "spec": {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]},
    }
    for path, value in changes.items():
        part, _, key = path.partition("__")
        made[part][key] = value
    return made


def test_a_claim_with_a_node_gets_a_directory_named_by_its_uid_only():
    work = plan_claim(claim(), None, STORAGE)
    assert work.make == (f"pvc-{UID}",)
    (create,) = work.actions
    assert isinstance(create, Create)
    assert create.body["spec"]["local"]["path"] == f"/storage/pvc-{UID}"
    assert create.body["spec"]["claimRef"]["uid"] == UID


@pytest.mark.parametrize(
    "one",
    [
        claim(metadata__annotations={"volume.kubernetes.io/storage-provisioner": PROVISIONER}),
        claim(metadata__annotations={"volume.kubernetes.io/selected-node": "n"}),
        claim(spec__volumeName="bound"),
        claim(metadata__deletionTimestamp="2026-01-01T00:00:00Z"),
        claim(metadata__uid="../../x"),
    ],
    ids=["no node yet", "another provisioner", "bound", "being deleted", "uid that is no uid"],
)
def test_other_claims_are_left_alone(one):
    work = plan_claim(one, None, STORAGE)
    assert (work.make, work.actions, work.remove) == ((), (), ())


def test_a_claim_with_its_volume_is_done():
    assert plan_claim(claim(), {"metadata": {}}, STORAGE).actions == ()


def volume(phase="Released", policy="Delete", by=PROVISIONER, name=f"pvc-{UID}"):
    return {
        "metadata": {"name": name, "uid": "u", "annotations": {"pv.kubernetes.io/provisioned-by": by}},
        "spec": {"persistentVolumeReclaimPolicy": policy},
        "status": {"phase": phase},
    }


def test_a_released_volume_goes_with_its_data():
    work = plan_volume(volume())
    assert work.remove == (f"pvc-{UID}",)
    (delete,) = work.actions
    assert isinstance(delete, Delete)
    assert delete.uid == "u"


@pytest.mark.parametrize(
    "one",
    [volume(phase="Bound"), volume(policy="Retain"), volume(by="other"), volume(name="pvc-../..")],
    ids=["bound", "retained", "of another provisioner", "strange name"],
)
def test_other_volumes_are_left_alone(one):
    assert plan_volume(one).remove == ()
