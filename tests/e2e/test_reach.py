"""Mapped Services: what is found on the other side, and by whom."""

import os

import pytest

from e2e.shell import wait_for
from e2e.virtual import VirtualCluster

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("LOFT_E2E_LONG"), reason="one of the long ones: make test-long"),
]

SITE = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: loft.sh/demo:1
    command: [sh, -c, "echo from NAME > /tmp/index.html; httpd -f -p 8080 -h /tmp"]
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture(scope="module")
def cluster(machine, tmp_path_factory):
    """A virtual cluster with a Service of another namespace inside, and one of its own outside."""
    made = VirtualCluster(machine, "reach", tmp_path_factory.mktemp("reach"))
    spaces = ("reach", "reach-data")
    for space in spaces:
        machine.kubectl("delete", "namespace", space, "--ignore-not-found", "--timeout=90s", timeout=100)
        machine.kubectl("create", "namespace", space)
    machine.kubectl("apply", "-n", "reach-data", "-f", "-", stdin=SITE.replace("NAME", "archive"))
    machine.kubectl("apply", "-n", "reach", "-f", "-", stdin=SITE.replace("NAME", "beside"))
    maps = {"from": ("reach-data/archive", "reach/beside"), "to": ("apps/archive", "apps/beside")}
    values = {f"mapServices.fromHost[{at}].{side}": maps[side][at] for at in (0, 1) for side in maps}
    values |= {"mapServices.fromVirtual[0].from": "apps/shop", "mapServices.fromVirtual[0].to": "shop"}
    made.install(**values, **{"hostServices[0]": "reach-data/*"})
    made("create", "namespace", "apps", check=False)
    wait_for(lambda: made("get", "serviceaccount", "default", "-n", "apps", check=False).returncode == 0)
    made("apply", "-n", "apps", "-f", "-", stdin=SITE.replace("NAME", "shop"))
    made("wait", "-n", "apps", "pod/shop", "--for=condition=Ready", "--timeout=60s")
    yield made
    made.remove()
    for space in spaces:
        machine.kubectl("delete", "namespace", space, "--ignore-not-found", "--timeout=90s", timeout=100)


def fetched(run, url):
    return run("--", "timeout", "3", "wget", "-qO-", url, check=False).stdout


def test_services_of_the_host_are_reached_inside_by_the_names_of_ones_choice(cluster):
    def from_shop(*words, **options):
        return cluster("exec", "-n", "apps", "shop", *words, **options)

    assert wait_for(lambda: fetched(from_shop, "http://archive")) == "from archive\n"
    assert wait_for(lambda: fetched(from_shop, "http://beside.apps.svc")) == "from beside\n"
    assert "ARCHIVE_SERVICE_HOST=" in cluster("exec", "-n", "apps", "shop", "--", "env").stdout


def test_a_service_inside_is_reached_on_the_host_by_a_plain_name(cluster, machine):
    def from_beside(*words, **options):
        return machine.kubectl("exec", "-n", "reach", "beside", *words, **options)

    assert wait_for(lambda: fetched(from_beside, "http://shop")) == "from shop\n"


def test_services_that_are_not_offered_are_refused(cluster):
    mapped = {"mapServices.fromHost[0].from": "kube-system/kube-dns", "mapServices.fromHost[0].to": "apps/dns"}
    refused = cluster.helm("upgrade", mapped | {"hostServices[0]": "reach-data/*"}, check=False)
    assert "Service kube-system/kube-dns is not offered" in refused.stderr


def test_the_api_server_is_no_way_to_the_services_of_the_host(cluster):
    path = "/api/v1/namespaces/apps/services/{}:80/proxy/"
    assert wait_for(lambda: cluster("get", "--raw", path.format("shop"), check=False).stdout) == "from shop\n"
    # A mapped Service is an address for pods.
    assert cluster("get", "--raw", path.format("archive"), check=False).returncode
