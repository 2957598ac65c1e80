"""A virtual cluster with `isolation.enabled` and Pod Security `restricted`: what its tenant can and cannot reach."""

import json

import pytest

from e2e.shell import wait_for
from e2e.test_virtual_cluster import Tenant, kubeconfig_of
from loft.embedded.binaries import find
from loft.helm.charts import chart_path

NAMESPACE = "team-fenced"
NAME = "fenced"

APPLICATION = """
apiVersion: v1
kind: Pod
metadata: {name: strict, labels: {app: strict}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: loft.sh/demo:1
    command: [sh, -c, "mkdir /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Pod
metadata: {name: loose}
spec:
  containers: [{name: main, image: "loft.sh/demo:1", command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: strict}
spec: {selector: {app: strict}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture(scope="module")
def tenant(machine, tmp_path_factory):
    machine.kubectl("create", "namespace", NAMESPACE)
    ranges = machine.get("servicecidr", "kubernetes")["spec"]["cidrs"]
    machine.helm(
        *("install", NAME, str(chart_path("virtualcluster")), "--namespace", NAMESPACE),
        *("--set", f"serviceCIDR={ranges[0]}", "--set", "isolation.enabled=true"),
        *("--set", "isolation.podSecurityStandard=restricted"),
    )
    machine.kubectl("wait", "-n", NAMESPACE, f"pod/{NAME}-0", "--for=create", "--timeout=60s")
    machine.kubectl("wait", "-n", NAMESPACE, f"pod/{NAME}-0", "--for=condition=Ready", "--timeout=120s")
    owner = Tenant(machine, kubeconfig_of(machine, NAMESPACE, NAME, tmp_path_factory.mktemp("fenced")))
    wait_for(lambda: owner("get", "--raw", "/readyz", check=False).returncode == 0)
    owner("apply", "-f", "-", stdin=APPLICATION)
    owner("wait", "pod/strict", "--for=condition=Ready", "--timeout=60s")
    yield owner
    machine(str(find("helm")), "uninstall", NAME, "--namespace", NAMESPACE)
    machine.kubectl("delete", "namespace", NAMESPACE, "--timeout=90s")


def reaches(tenant, address, port):
    return tenant("exec", "strict", "--", "nc", "-w", "2", address, str(port), check=False, stdin="").returncode == 0


def test_a_pod_that_is_not_restricted_is_told_what_is_missing(tenant):
    def told():
        events = tenant.get("events", "--field-selector", "involvedObject.name=loose")["items"]
        return {item["message"].partition(": ")[2].partition(":")[0].rpartition(".")[2] for item in events}

    missing = {"allowPrivilegeEscalation", "runAsNonRoot", "drop", "type"}
    wait_for(lambda: missing <= told())
    assert tenant.get("pod", "loose")["status"]["phase"] == "Pending"


def test_own_pods_services_names_and_api_server_are_reached(tenant):
    address = tenant.get("service", "strict")["spec"]["clusterIP"]
    wait_for(lambda: reaches(tenant, address, 80))
    assert reaches(tenant, tenant.get("service", "kubernetes")["spec"]["clusterIP"], 443)
    answer = tenant("exec", "strict", "--", "nslookup", "kubernetes.default.svc.cluster.local").stdout
    assert "Address" in answer
    # The way of the API server to the pod is open, the control plane's fence notwithstanding.
    path = "/api/v1/namespaces/default/pods/strict:8080/proxy/"
    assert tenant("get", "--raw", path).stdout == "hello\n"


def test_the_host_and_others_are_not_reached(tenant, machine):
    (node,) = machine.get("nodes")["items"]
    addresses = [item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP"]
    for address in addresses:
        assert not reaches(tenant, address, 6443) and not reaches(tenant, address, 10250)
    for pod in machine.get("pods", "-n", "kube-system", "-l", "k8s-app=metrics-server")["items"]:
        assert not reaches(tenant, pod["status"]["podIP"], 10250)


def test_a_quota_of_the_host_is_told_inside(tenant):
    spec = {"type": "NodePort", "selector": {"app": "strict"}, "ports": [{"port": 80}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "outside"}, "spec": spec}
    answer = tenant("create", "-f", "-", stdin=json.dumps(body), check=False)
    assert answer.returncode and "services.nodeports" in answer.stderr
