"""Virtual clusters that run before anybody asks: claimed at once, refilled, and gone when none is wished any more."""

import json

import pytest
import yaml

from e2e.shell import wait_for

CLUSTER = "loft-cluster"
WARM = ("-A", "-l", "loft.sh/warm", "-o", "json")


def warm(machine):
    return json.loads(machine.kubectl("get", "virtualclusters.storage.loft.sh", *WARM).stdout)["items"]


def one_serves(machine):
    return [item for item in warm(machine) if (item.get("status") or {}).get("controlPlaneReady")]


@pytest.fixture(scope="module")
def pool(machine, tmp_path_factory):
    """A platform that keeps one warm; afterwards none."""
    values = tmp_path_factory.mktemp("warm") / "values.yaml"

    def keep(count):
        values.write_text(yaml.safe_dump({"agent": {"virtualClusters": {"warm": count}}}))
        machine.loft("start", "--values", str(values), timeout=180)

    keep(1)
    yield
    keep(0)
    wait_for(lambda: not warm(machine), 120)


@pytest.mark.timeout(300)
def test_a_virtual_cluster_without_wishes_is_a_warm_one(pool, machine, platform):
    person = platform.admin("hasty")
    (waiting,) = wait_for(lambda: one_serves(machine), 120)
    space = waiting["metadata"]["namespace"]
    assert waiting["metadata"]["name"] not in person.loft("list", "vclusters").stdout
    assert space not in person.loft("list", "spaces").stdout

    person.loft("create", "vcluster", "quick")
    assert "kube-system" in person.kubectl("get", "namespaces").stdout
    assert person.kubectl("config", "current-context").stdout.strip() == f"loft-vcluster_quick_{space}_{CLUSTER}"
    assert space in person.loft("list", "spaces").stdout
    release = person.kubectl("get", "service", "kubernetes", "-n", "default", "-o", "name").stdout
    assert release.strip() == "service/kubernetes"

    person.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    machine.kubectl("delete", "pod", "-n", space, f"{waiting['metadata']['name']}-0")
    wait_for(lambda: "kept" in person.kubectl("get", "configmaps", check=False).stdout, 90)

    (next_one,) = wait_for(lambda: one_serves(machine), 120)
    assert next_one["metadata"]["namespace"] != space
    person.loft("delete", "vcluster", "quick", "--space", space, "--delete-space", timeout=180)
    wait_for(lambda: space not in machine.kubectl("get", "namespaces").stdout, 60)


def test_with_wishes_of_its_own_it_is_made_anew(pool, machine, platform):
    person = platform.admin("particular")
    (waiting,) = wait_for(lambda: one_serves(machine), 120)
    person.loft("create", "vcluster", "special", "--space", "special-space", timeout=200)
    assert "kube-system" in person.kubectl("get", "namespaces").stdout
    assert [item["metadata"]["name"] for item in warm(machine)] == [waiting["metadata"]["name"]]
    person.loft("delete", "vcluster", "special", "--space", "special-space", "--delete-space", timeout=180)
