"""The embedded cluster as an administrator meets it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from e2e.shell import wait_for

WORKLOAD = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: loft.sh/demo:1
        command: [sh, -c, "echo stored > /data/note; exec httpd -f -v -p 8080 -h /www"]
        ports: [{containerPort: 8080, hostPort: 9797, hostIP: 127.0.0.1}]
        volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], type: NodePort}
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: client, image: "loft.sh/demo:1", command: [sleep, "100000"]}]
"""

POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}]}]
"""


@pytest.fixture(scope="module")
def workload(machine):
    machine.kubectl("create", "namespace", "e2e")
    machine.kubectl("apply", "-n", "e2e", "-f", "-", stdin=WORKLOAD)
    machine.kubectl("rollout", "status", "-n", "e2e", "deployment/web", "--timeout=60s")
    machine.kubectl("wait", "-n", "e2e", "pod/client", "--for=condition=Ready", "--timeout=60s")
    yield machine
    machine.kubectl("delete", "namespace", "e2e", "--timeout=60s")


def fetch(machine, url):
    return machine.kubectl("exec", "-n", "e2e", "client", "--", "timeout", "3", "wget", "-qO-", url, check=False)


def test_the_node_is_ready_and_has_the_version_we_say(machine):
    (node,) = machine.get("nodes")["items"]
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.3"
    assert {item["type"]: item["status"] for item in node["status"]["conditions"]}["Ready"] == "True"


def test_starting_a_running_cluster_again_is_quick_and_changes_nothing(machine):
    before = machine.get("node", "loft-cluster")["metadata"]["uid"]
    began = time.monotonic()
    machine("loft", "start")
    print(f"loft start on a running cluster: {time.monotonic() - began:.1f} s")
    assert machine.get("node", "loft-cluster")["metadata"]["uid"] == before


def test_a_service_is_reached_by_its_name_from_another_pod(workload):
    assert fetch(workload, "http://web.e2e.svc.cluster.local").stdout == "hello from a pod\n"


def test_a_pod_reaches_itself_through_its_service(workload):
    result = workload.kubectl("exec", "-n", "e2e", "deploy/web", "--", "wget", "-qO-", "http://web.e2e")
    assert result.stdout == "hello from a pod\n"


def test_a_host_port_answers_on_loopback(workload):
    assert workload("curl", "-s", "-m", "5", "http://127.0.0.1:9797").stdout == "hello from a pod\n"


def test_a_node_port_answers_on_the_node(workload):
    port = workload.get("service", "web", "-n", "e2e")["spec"]["ports"][0]["nodePort"]
    assert workload("curl", "-s", "-m", "5", f"http://10.201.0.1:{port}").stdout == "hello from a pod\n"


def test_logs_exec_and_cp(workload, tmp_path):
    assert fetch(workload, "http://web.e2e").returncode == 0
    assert "response:200" in workload.kubectl("logs", "-n", "e2e", "deploy/web").stdout
    refused = workload.kubectl(
        "exec", "-n", "e2e", "client", "--", "sh", "-c", "echo out; echo err >&2; exit 3", check=False
    )
    assert (refused.returncode, refused.stdout) == (3, "out\n")
    assert "err" in refused.stderr
    echoed = workload.kubectl("exec", "-i", "-n", "e2e", "client", "--", "cat", stdin="through stdin")
    assert echoed.stdout == "through stdin"
    (tmp_path / "a").write_text("copied")
    workload.kubectl("cp", str(tmp_path / "a"), "e2e/client:/tmp/a")
    workload.kubectl("cp", "e2e/client:/tmp/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "copied"


def test_a_volume_is_bound_and_written(workload):
    assert workload.get("pvc", "data", "-n", "e2e")["status"]["phase"] == "Bound"
    assert workload.kubectl("exec", "-n", "e2e", "deploy/web", "--", "cat", "/data/note").stdout == "stored\n"


def test_a_network_policy_is_enforced_and_lifted(workload):
    assert fetch(workload, "http://web.e2e").returncode == 0
    workload.kubectl("apply", "-n", "e2e", "-f", "-", stdin=POLICY)
    wait_for(lambda: fetch(workload, "http://web.e2e").returncode != 0)
    workload.kubectl("label", "-n", "e2e", "pod/client", "app=nobody", "--overwrite")
    wait_for(lambda: fetch(workload, "http://web.e2e").returncode == 0)
    workload.kubectl("delete", "-n", "e2e", "networkpolicy", "web")


def test_metrics_are_served(machine):
    wait_for(lambda: machine.kubectl("top", "nodes", check=False).returncode == 0, 90)


def test_nothing_listens_on_outside_addresses(machine):
    rows = machine("ss", "-Hltnp").stdout.splitlines()
    ours = [row for row in rows if any(name in row for name in ('"kube', '"etcd', '"containerd"'))]
    assert ours
    for row in ours:
        address = row.split()[3].rpartition(":")[0]
        assert address in ("127.0.0.1", "10.201.0.1"), row


def test_anonymous_requests_get_nothing_but_health(machine):
    def status(path):
        words = ("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"https://10.201.0.1:6443{path}")
        return machine(*words).stdout

    assert status("/readyz") == "200"
    assert status("/api/v1/namespaces") == "401"
    assert status("/version") == "401"


def test_a_component_that_is_killed_comes_back(machine):
    def pid():
        found = (machine.state / "clusters/loft-cluster/run/pids/kube-scheduler.pid").read_text()
        return int(found.split('"pid":')[1].split(",")[0])

    first = pid()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: (machine.state / "clusters/loft-cluster/run/pids/kube-scheduler.pid").exists() and pid() != first)
    machine.kubectl("run", "after", "--image=loft.sh/demo:1", "--restart=Never", "--command", "--", "true")
    wait_for(lambda: machine.get("pod", "after")["status"]["phase"] == "Succeeded")
    machine.kubectl("delete", "pod", "after", "--grace-period=0", "--force")


def test_a_stopped_cluster_leaves_nothing_running_and_comes_back_with_its_data(machine):
    machine.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    machine("loft", "stop", timeout=120)
    left = subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout
    assert str(machine.state) not in left
    assert str(machine.state) not in Path("/proc/mounts").read_text()
    machine("loft", "start", timeout=180)
    assert machine.get("configmap", "kept")["data"] == {"a": "b"}


def test_a_daemon_that_is_killed_leaves_a_start_that_works(machine):
    daemon = int((machine.state / "clusters/loft-cluster/daemon.lock").read_text())
    os.kill(daemon, signal.SIGKILL)
    machine("loft", "start", timeout=180)
    wait_for(
        lambda: (
            "True" in machine.kubectl("get", "nodes", "-o", "jsonpath={..conditions[?(@.type=='Ready')].status}").stdout
        )
    )


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("start", "--name", "Not_A_Name"), 1, "no name for a cluster"),
        (("stop", "--name", "unknown"), 3, "there is no cluster 'unknown' here"),
        (("uninstall",), 2, "--yes"),
    ],
)
def test_bad_input_is_one_clear_line(machine, words, code, says):
    result = machine("loft", *words, check=False)
    assert result.returncode == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr
