"""A virtual cluster inside a virtual cluster inside a virtual cluster: each is a host as good as the first."""

import json
import os

import pytest

from e2e.shell import wait_for
from e2e.virtual import MANAGED, VirtualCluster

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.environ.get("LOFT_E2E_LONG"), reason="one of the long ones: make test-long"),
]
DEPTH = 3
LONG_NAME = "w" * 50


class Inside:
    """A virtual cluster as the machine that the next one is installed on."""

    def __init__(self, machine, cluster):
        self._machine, self._flag = machine, f"--kubeconfig={cluster.path}"

    def __call__(self, *words, **options):
        return self._machine(*words, **options)

    def kubectl(self, *words, **options):
        # A kubeconfig of the next one comes first, and kubectl takes the last.
        flags = () if any(word.startswith("--kubeconfig=") for word in words) else (self._flag,)
        return self._machine.kubectl(*flags, *words, **options)

    def helm(self, *words, **options):
        return self._machine.helm(self._flag, *words, **options)

    def get(self, *words):
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)


@pytest.fixture(scope="module")
def nest(machine, tmp_path_factory):
    """Three virtual clusters, the outermost first."""
    folder = tmp_path_factory.mktemp("nest")
    clusters, below = [], machine
    machine.kubectl("delete", "namespace", "nest-1", "--ignore-not-found", "--timeout=90s", timeout=100)
    try:
        for depth in range(1, DEPTH + 1):
            cluster = VirtualCluster(below, f"nest-{depth}", folder)
            below.kubectl("create", "namespace", cluster.namespace)
            clusters.append(cluster.install(**{"storage.size": "1Gi"}))
            below = Inside(machine, cluster)
        yield clusters
    finally:
        clusters[0].remove() if clusters else None
        machine.kubectl("delete", "namespace", "nest-1", "--ignore-not-found", "--timeout=90s", timeout=100)


def test_a_pod_of_the_innermost_runs_on_the_hosts_kubelet_and_is_worked_in(nest, machine):
    innermost = nest[-1]
    innermost.deploy("web")
    innermost.deploy(LONG_NAME)
    wait_for(lambda: innermost.answers("web"))
    assert wait_for(lambda: innermost.answers(LONG_NAME))
    (pod,) = innermost.get("pods", "-l", "app=web")["items"]
    found = machine.get("pods", "-n", "nest-1")["items"]
    (outermost,) = [item for item in found if item["status"].get("podIP") == pod["status"]["podIP"]]
    assert outermost["spec"]["nodeName"] == pod["spec"]["nodeName"]
    assert "httpd" in innermost("exec", "deploy/web", "--", "ps").stdout
    result = innermost("exec", "-i", "deploy/web", "--", "sh", "-c", "cat; exit 3", stdin="in", check=False)
    assert (result.returncode, result.stdout) == (3, "in")
    innermost("run", "speaks", "--image=loft.sh/demo:1", "--restart=Never", "--", "echo", "from the innermost")
    wait_for(lambda: innermost("logs", "speaks", check=False).stdout == "from the innermost\n")


def test_names_stay_apart_and_short(nest, machine):
    innermost = nest[-1]
    innermost("create", "namespace", "twin", check=False)
    wait_for(lambda: innermost("get", "serviceaccount", "default", "-n", "twin", check=False).returncode == 0)
    for namespace in ("default", "twin"):
        innermost("create", "service", "clusterip", "same", "--tcp=80", "-n", namespace)
    inside = innermost.get("services", "-A")["items"]
    addresses = {item["spec"].get("clusterIP", "None") for item in inside} - {"None"}
    assert len(addresses) >= 5
    outside = machine.get("services,pods,secrets,configmaps", "-n", "nest-1", "-l", f"{MANAGED}=nest-1")["items"]
    names = [f"{item['kind']}/{item['metadata']['name']}" for item in outside]
    assert len(set(names)) == len(names)
    assert max(len(item["metadata"]["name"]) for item in outside) <= 63
    known = {item["spec"].get("clusterIP") for item in outside if item["kind"] == "Service"}
    # default/kubernetes of the innermost is the Service of its control plane, on its own host.
    assert addresses <= known
    wait_for(innermost.pods_match)


def test_with_the_outermost_everything_goes(nest, machine):
    outermost = nest[0]
    assert outermost.left()
    machine.helm("uninstall", outermost.name, "-n", outermost.namespace)
    wait_for(lambda: not outermost.left(), 90)
    roles = machine.get("clusterroles,clusterrolebindings,persistentvolumes")["items"]
    assert not [item["metadata"]["name"] for item in roles if "nest-" in json.dumps(item)]
