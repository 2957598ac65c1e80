"""Snapshots by way of the central instance: who may take and restore them, and what stops nothing."""

import json

import pytest

from e2e.shell import wait_for
from e2e.test_life import LONG
from e2e.test_refusals import CLUSTER, MANAGEMENT, PASSWORD, fatal

pytestmark = [LONG, pytest.mark.timeout(600)]
SPACE = "life-central"
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: backups}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


@pytest.fixture(scope="module")
def admin(platform):
    person = platform.admin("snapshots-admin")
    person.loft("use", "management")
    return person


@pytest.fixture(scope="module")
def people(admin, platform):
    """Two users who administer nothing; the first is given a space."""
    found = []
    for name in ("life-ann", "life-cid"):
        user = {"apiVersion": "management.loft.sh/v1", "kind": "User", "metadata": {"name": name}, "spec": {}}
        admin.kubectl(*MANAGEMENT, "apply", "-f", "-", stdin=json.dumps(user))
        profile = {"apiVersion": "management.loft.sh/v1", "kind": "UserProfile", "password": PASSWORD}
        path = f"/apis/management.loft.sh/v1/users/{name}/profile"
        admin.kubectl(*MANAGEMENT, "create", "--raw", path, "-f", "-", stdin=json.dumps(profile))
        person = platform.person(name)
        person.loft("login", platform.url, "--username", name, "--password", PASSWORD)
        found.append(person)
    yield found
    admin.kubectl(*MANAGEMENT, "delete", "user", "life-ann", "life-cid")


@pytest.fixture(scope="module")
def owned(admin, people, machine):
    """A virtual cluster in a space of the first; the limit of its store is low."""
    ann = people[0]
    admin.loft("create", "space", SPACE, "--cluster", CLUSTER, "--user", "life-ann", "--no-create-context")
    try:
        values = "storage: {size: 1Gi, limit: 64Mi}\n"
        path = f"{ann.environment['HOME']}/values.yaml"
        with open(path, "w") as file:
            file.write(values)
        ann.loft("create", "vcluster", "dev", "--cluster", CLUSTER, "--space", SPACE, "--values", path, timeout=200)
        yield ann
    finally:
        admin.loft("delete", "space", SPACE, "--cluster", CLUSTER, "--wait", timeout=180)


def names(person):
    found = person.kubectl("get", "configmaps", "-o", "name").stdout.split()
    return {name.removeprefix("configmap/") for name in found} - {"kube-root-ca.crt"}


def restarts(machine):
    statuses = machine.get("pod", "dev-0", "-n", SPACE)["status"]["containerStatuses"]
    return {item["name"]: item["restartCount"] for item in statuses}


def test_the_owner_takes_and_restores_to_a_file_and_to_a_volume(owned, machine, tmp_path):
    ann, place = owned, ("--cluster", CLUSTER, "--space", SPACE)
    path = str(tmp_path / "one.tar")
    ann.kubectl("create", "configmap", "before", "--from-literal=a=b")
    said = ann.loft("snapshot", "vcluster", "dev", "--to", path).stderr
    assert "Snapshot of virtual cluster dev written to" in said
    machine.kubectl("apply", "-n", SPACE, "-f", "-", stdin=CLAIM)
    ann.kubectl("create", "configmap", "second", "--from-literal=a=b")
    ann.loft("snapshot", "vcluster", "dev", *place, "--to", "pvc://backups/day/two.tar")
    ann.kubectl("delete", "configmap", "before", "second")
    ann.loft("restore", "vcluster", "dev", "--from", path, timeout=200)
    assert names(ann) == {"before"}
    ann.loft("restore", "vcluster", "dev", *place, "--from", "pvc://backups/day/two.tar", timeout=200)
    assert names(ann) == {"before", "second"}


def test_an_administrator_may_as_well(owned, admin, tmp_path):
    path = str(tmp_path / "one.tar")
    admin.loft("snapshot", "vcluster", "dev", "--space", SPACE, "--to", path)
    before = names(owned)
    owned.kubectl("create", "configmap", "later", "--from-literal=a=b")
    admin.loft("restore", "vcluster", "dev", "--space", SPACE, "--from", path, timeout=200)
    assert names(owned) == before


def test_for_others_it_is_as_if_there_were_none(owned, people, admin, machine, tmp_path):
    cid, place = people[1], ("--cluster", CLUSTER, "--space", SPACE)
    path = tmp_path / "one.tar"
    admin.loft("snapshot", "vcluster", "dev", "--space", SPACE, "--to", str(path))
    before = restarts(machine)
    for given in ((), place):
        for words in (("snapshot", "--to", str(tmp_path / "none")), ("restore", "--from", str(path))):
            said = {}
            for name in ("dev", "isnot"):
                result = cid.loft(words[0], "vcluster", name, *given, *words[1:], check=False)
                said[name] = (fatal(result, result.returncode).replace(name, "NAME"), result.returncode)
                assert result.returncode
            assert said["dev"] == said["isnot"]
    assert not (tmp_path / "none").exists()
    assert restarts(machine) == before


def test_what_is_damaged_stops_nothing(owned, machine, tmp_path):
    path = tmp_path / "one.tar"
    owned.loft("snapshot", "vcluster", "dev", "--to", str(path))
    before, whole = restarts(machine), path.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:middle] + b"damaged" + whole[middle + 7 :], b""):
        bad = tmp_path / "bad.tar"
        bad.write_bytes(content)
        result = owned.loft("restore", "vcluster", "dev", "--from", str(bad), check=False)
        assert "is no whole snapshot" in fatal(result, 1)
    assert restarts(machine) == before
    wait_for(lambda: owned.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)
