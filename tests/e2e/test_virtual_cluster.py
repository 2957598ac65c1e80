"""A virtual cluster by its chart, used as its owner would use it: a Kubernetes of one's own inside one namespace."""

import base64
import json
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from e2e import guard
from e2e.shell import wait_for
from e2e.virtual import settings
from loft.embedded.binaries import find
from loft.helm.charts import chart_path

NAMESPACE = "team-a"
NAME = "dev"

APPLICATION = """
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index.html: "served from a virtual cluster\\n"}
---
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
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: web
        image: loft.sh/demo:1
        command: [sh, -c, "echo kept > /data/note; exec httpd -f -v -p 8080 -h /www"]
        volumeMounts: [{name: page, mountPath: /www}, {name: data, mountPath: /data}]
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumes: [{name: page, configMap: {name: page}}, {name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: client, image: "loft.sh/demo:1", command: [sleep, "100000"]}]
"""

IN_CLUSTER = """
import json, ssl, urllib.request, os
base = "/var/run/secrets/kubernetes.io/serviceaccount/"
context = ssl.create_default_context(cafile=base + "ca.crt")
url = "https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews"
body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
headers = {"Authorization": "Bearer " + open(base + "token").read(), "Content-Type": "application/json"}
request = urllib.request.Request(url, body, headers)
answer = json.load(urllib.request.urlopen(request, context=context))
print(answer["status"]["userInfo"]["username"])
"""


class Tenant:
    """kubectl inside the virtual cluster."""

    def __init__(self, machine, kubeconfig):
        self._machine, self.environment = machine, machine.environment
        self.flag = f"--kubeconfig={kubeconfig}"

    def __call__(self, *words, **options):
        return self._machine("kubectl", self.flag, *words, **options)

    def get(self, *words):
        return yaml.safe_load(self("get", *words, "-o", "json").stdout)

    def start(self, *words):
        return subprocess.Popen(["kubectl", self.flag, *words], stdout=subprocess.PIPE, env=self.environment, text=True)


def kubeconfig_of(machine, namespace, name, folder):
    """Write the administrator's kubeconfig of a virtual cluster, for use on this machine."""
    secret = machine.get("secret", f"vc-{name}", "-n", namespace)
    address = machine.get("service", name, "-n", namespace)["spec"]["clusterIP"]
    config = yaml.safe_load(base64.b64decode(secret["data"]["config"]))
    config["clusters"][0]["cluster"]["server"] = f"https://{address}:443"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def tenant(machine, tmp_path_factory):
    machine.kubectl("create", "namespace", NAMESPACE)
    ranges = machine.get("servicecidr", "kubernetes")["spec"]["cidrs"]
    began = time.monotonic()
    machine(
        *(str(find("helm")), "install", NAME, str(chart_path("virtualcluster")), "--namespace", NAMESPACE),
        *settings({"serviceCIDR": ranges[0], "hostNodes.enabled": "true"}),
    )
    machine.kubectl("wait", "-n", NAMESPACE, f"pod/{NAME}-0", "--for=create", "--timeout=60s")
    machine.kubectl("wait", "-n", NAMESPACE, f"pod/{NAME}-0", "--for=condition=Ready", "--timeout=120s")
    print(f"virtual cluster: helm install -> Ready in {time.monotonic() - began:.1f} s")
    owner = Tenant(machine, kubeconfig_of(machine, NAMESPACE, NAME, tmp_path_factory.mktemp("tenant")))
    # The pod is Ready a moment before kube-proxy leads its Service there.
    wait_for(lambda: owner("get", "--raw", "/readyz", check=False).returncode == 0)
    yield owner
    machine(str(find("helm")), "uninstall", NAME, "--namespace", NAMESPACE)
    machine.kubectl("delete", "namespace", NAMESPACE, "--timeout=90s")


@pytest.fixture(scope="module")
def application(tenant):
    tenant("apply", "-f", "-", stdin=APPLICATION)
    tenant("rollout", "status", "deployment/web", "--timeout=90s")
    tenant("wait", "pod/client", "--for=condition=Ready", "--timeout=60s")
    return tenant


def test_it_is_a_cluster_of_its_own(tenant, machine):
    names = {item["metadata"]["name"] for item in tenant.get("namespaces")["items"]}
    assert {"default", "kube-system"} <= names
    assert NAMESPACE not in names
    tenant("create", "namespace", "mine")
    assert machine.kubectl("get", "namespace", "mine", check=False).returncode != 0


def test_its_pods_run_on_the_host_and_the_owner_sees_them_run(application, machine):
    (pod,) = application.get("pods", "-l", "app=web")["items"]
    assert pod["status"]["phase"] == "Running"
    hosts = [
        item["metadata"]["name"]
        for item in machine.get("pods", "-n", NAMESPACE)["items"]
        if item["status"].get("podIP") == pod["status"]["podIP"]
    ]
    assert len(hosts) == 1
    assert hosts[0] != pod["metadata"]["name"]
    assert application.get("nodes")["items"]


def test_a_service_is_reached_by_name_from_another_pod(application):
    def answer():
        return application("exec", "client", "--", "timeout", "3", "wget", "-qO-", "http://web", check=False).stdout

    assert wait_for(lambda: answer() == "served from a virtual cluster\n")


def test_a_service_has_the_hosts_address_at_once(application, machine):
    address = application.get("service", "web")["spec"]["clusterIP"]
    owners = [
        item for item in machine.get("services", "-n", NAMESPACE)["items"] if item["spec"]["clusterIP"] == address
    ]
    assert len(owners) == 1


def test_logs_and_logs_f(application):
    application("exec", "client", "--", "wget", "-qO-", "http://web")
    assert "response:200" in application("logs", "deploy/web").stdout
    following = application.start("logs", "-f", "deploy/web", "--tail=0")
    try:
        time.sleep(1)
        application("exec", "client", "--", "wget", "-qO-", "http://web")
        assert "response:200" in following.stdout.readline()
    finally:
        following.send_signal(signal.SIGTERM)
        following.wait(10)
        following.stdout.close()


def test_exec_with_stdin_stderr_and_exit_code(application):
    result = application("exec", "-i", "client", "--", "sh", "-c", "cat; echo err >&2; exit 3", stdin="in", check=False)
    assert (result.returncode, result.stdout) == (3, "in")
    assert "err" in result.stderr


def test_cp_both_ways(application, tmp_path):
    (tmp_path / "a").write_text("copied" * 10_000)
    application("cp", str(tmp_path / "a"), "client:/tmp/a")
    application("cp", "client:/tmp/a", str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "copied" * 10_000


def test_port_forward(application, machine):
    forward = application.start("port-forward", "deploy/web", "18080:8080", "--address=127.0.0.1")
    try:
        assert "Forwarding from" in forward.stdout.readline()
        for _ in range(3):
            assert (
                machine("curl", "-s", "-m", "5", "http://127.0.0.1:18080").stdout == "served from a virtual cluster\n"
            )
    finally:
        forward.send_signal(signal.SIGTERM)
        forward.wait(10)
        forward.stdout.close()


def test_proxies_lead_to_pods_and_services(application, machine):
    (pod,) = application.get("pods", "-l", "app=web")["items"]
    for path in ("services/web:80", f"pods/{pod['metadata']['name']}:8080"):
        raw = f"/api/v1/namespaces/default/{path}/proxy/"
        answer = wait_for(lambda raw=raw: application("get", "--raw", raw, check=False).stdout)
        assert answer == "served from a virtual cluster\n"
    proxy = application.start("proxy", "--port=18081")
    try:
        assert "Starting to serve" in proxy.stdout.readline()
        url = "http://127.0.0.1:18081/api/v1/namespaces/default/services/web:80/proxy/"
        assert machine("curl", "-s", "-m", "5", url).stdout == "served from a virtual cluster\n"
    finally:
        proxy.send_signal(signal.SIGTERM)
        proxy.wait(10)
        proxy.stdout.close()


def test_a_process_that_waits_is_attached_to(application):
    asks = ("run", "asks", "--image=loft.sh/demo:1", "--restart=Never", "--stdin", "--quiet")
    said = application(*asks, "--", "sh", "-c", "read line; echo got $line", stdin="it\n").stdout
    assert "got it" in said
    assert application("logs", "asks", "--since-time=2100-01-01T00:00:00Z").stdout == ""
    application("delete", "pod", "asks", "--wait=false")


def test_a_tenants_webhook_decides_who_enters_pods(application, tmp_path):
    guard.post(application, tmp_path, "default")
    try:
        for command in (("exec", "client", "--", "true"), ("attach", "client"), ("port-forward", "client", "18082:80")):
            way = f"CONNECT pods/{command[0].replace('-', '')} is not for you"
            wait_for(lambda command=command, way=way: way in refusal(application, command), 30)
    finally:
        guard.relieve(application, "default")
    wait_for(lambda: application("exec", "client", "--", "true", check=False).returncode == 0)


def refusal(application, command):
    """What kubectl says about a way into a pod that is closed; it is ended where that is open."""
    if command[0] != "port-forward":
        return application("--request-timeout=5s", *command, check=False).stderr
    words = ("timeout", "5", "kubectl", application.flag, *command)
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=application.environment, text=True
    )
    try:
        first = process.stdout.readline()
        if "Forwarding" in first:
            # It asks for the port when somebody comes.
            urllib.request.urlopen("http://127.0.0.1:18082", timeout=2)
    except OSError:
        pass
    finally:
        rest = process.stdout.read()
        process.wait(10)
        process.stdout.close()
    return first + rest


def test_a_program_in_a_pod_talks_to_its_own_api_server_as_its_service_account(application):
    who = application("exec", "client", "--", "python3", "-c", IN_CLUSTER).stdout.strip()
    assert who == "system:serviceaccount:default:default"


def test_a_claim_is_bound_and_written(application):
    assert application.get("pvc", "data")["status"]["phase"] == "Bound"
    assert application("exec", "deploy/web", "--", "cat", "/data/note").stdout == "kept\n"


def test_what_has_power_on_the_host_is_refused_with_an_event(application, machine):
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: escape}
spec:
  containers: [{name: c, image: "loft.sh/demo:1", command: [sleep, "100"], securityContext: {privileged: true}}]
"""
    application("apply", "-f", "-", stdin=pod)

    def told():
        events = application.get("events", "--field-selector", "involvedObject.name=escape")["items"]
        return [item for item in events if "privileged" in item["message"]]

    assert wait_for(told)
    assert not [item for item in machine.get("pods", "-n", NAMESPACE)["items"] if "escape" in item["metadata"]["name"]]
    application("delete", "pod", "escape", "--grace-period=0", "--force")


LIFE = """
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "loft.sh/demo:1", command: [sh, -c, "echo last words; exit 3"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: gated, labels: {app: gated}}
spec:
  terminationGracePeriodSeconds: 300
  hostname: gated
  subdomain: peers
  setHostnameAsFQDN: true
  readinessGates: [{conditionType: example.org/open}]
  containers:
  - name: main
    image: loft.sh/demo:1
    command: [sleep, "100000"]
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 50m, memory: 32Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: gated}, ports: [{port: 80}]}
"""

LOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: load}
spec:
  selector: {matchLabels: {app: load}}
  template:
    metadata: {labels: {app: load}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: loft.sh/demo:1
        command: [sh, -c, "while true; do :; done"]
        resources: {requests: {cpu: 10m}, limits: {cpu: 40m}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: load}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: load}
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
"""


@pytest.fixture(scope="module")
def gated(tenant):
    tenant("apply", "-f", "-", stdin=LIFE)
    tenant("wait", "pod/gated", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    yield tenant
    # It would take its five minutes, and the namespace with it.
    tenant("delete", "pod", "crash", "gated", "--grace-period=1", "--ignore-not-found")


def test_logs_of_a_container_that_ended(gated):
    wait_for(lambda: gated.get("pod", "crash")["status"]["containerStatuses"][0]["restartCount"])

    def said(*options):
        # Each restart takes the container before away, now and then between question and answer.
        return gated("logs", "crash", "--previous", *options, check=False).stdout

    wait_for(lambda: said("--since=10m", "--tail=1") == "last words\n")
    wait_for(lambda: said("--limit-bytes=4") == "last")


def test_a_gate_and_a_qualified_name(gated):
    conditions = [{"type": "example.org/open", "status": "True"}]
    patch = json.dumps({"status": {"conditions": conditions}})
    assert gated("wait", "pod/gated", "--for=condition=Ready", "--timeout=2s", check=False).returncode
    gated("patch", "pod", "gated", "--subresource=status", "--type=strategic", "-p", patch)
    gated("wait", "pod/gated", "--for=condition=Ready", "--timeout=30s")
    name = gated("exec", "gated", "--", "hostname").stdout.strip()
    assert name == "gated.peers.default.svc.cluster.local"
    address = gated.get("pod", "gated")["status"]["podIP"]
    wait_for(lambda: address in gated("exec", "gated", "--", "nslookup", name, check=False).stdout)


def test_a_size_is_changed_in_place(gated):
    bigger = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "70m"}}}]}}
    gated("patch", "pod", "gated", "--subresource=resize", "-p", json.dumps(bigger))

    def is_done():
        status = gated.get("pod", "gated")["status"]["containerStatuses"][0]
        return status["resources"]["limits"]["cpu"] == "70m" and status["restartCount"] == 0

    wait_for(is_done)


def test_a_debugger_joins_a_running_pod(gated):
    debugger = ("debug", "gated", "--image=loft.sh/demo:1", "--profile=baseline", "--target=main")
    gated(*debugger, "-c", "friend", "--", "sleep", "100000")
    wait_for(lambda: gated("exec", "gated", "-c", "friend", "--", "true", check=False).returncode == 0)
    assert "sleep" in gated("exec", "gated", "-c", "friend", "--", "ps").stdout
    # Without a profile it asks for a capability that baseline forbids: that is said, and nothing is started.
    gated("debug", "gated", "--image=loft.sh/demo:1", "-c", "strong", "--", "true")

    def refusal():
        found = gated.get("pod", "gated")["status"].get("ephemeralContainerStatuses", [])
        return next((item["state"]["waiting"]["message"] for item in found if item["name"] == "strong"), "")

    assert "capabilities.add" in wait_for(refusal)


def test_force_frees_the_name_at_once(gated):
    first = gated.get("pod", "gated")["metadata"]["uid"]
    gated("delete", "pod", "gated", "--grace-period=0", "--force")
    gated("apply", "-f", "-", stdin=LIFE)
    gated("wait", "pod/gated", "--for=jsonpath={.status.phase}=Running", "--timeout=30s")
    assert gated.get("pod", "gated")["metadata"]["uid"] != first


def test_figures_of_pods_and_nodes_and_an_autoscaler(tenant):
    tenant("apply", "-f", "-", stdin=LOAD)
    wait_for(lambda: "load-" in tenant("top", "pods", check=False).stdout, 90)
    assert tenant("top", "nodes", check=False).returncode == 0
    wait_for(lambda: tenant.get("deployment", "load")["spec"]["replicas"] == 2, 90)
    (node,) = tenant.get("nodes")["items"]
    summary = tenant("get", "--raw", f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary").stdout
    assert {item["podRef"]["namespace"] for item in json.loads(summary)["pods"]} <= {"default", "kube-system"}
    tenant("delete", "deployment/load", "hpa/load")


def test_what_is_deleted_inside_goes_on_the_host(application, machine):
    application("create", "deployment", "short", "--image=loft.sh/demo:1", "--", "sleep", "1000")
    application("rollout", "status", "deployment/short", "--timeout=60s")
    application("delete", "deployment", "short")

    def left():
        return [item for item in machine.get("pods", "-n", NAMESPACE)["items"] if "short" in item["metadata"]["name"]]

    assert wait_for(lambda: not left())


def test_helm_installs_a_chart_inside(application, machine, tmp_path):
    chart = Path(__file__).parent / "chart"
    helm = str(find("helm"))
    options = (application.flag, "--namespace", "default")
    machine(helm, "install", "shop", str(chart), *options, "--wait", "--timeout", "60s", timeout=90)
    assert "shop" in machine(helm, "list", *options).stdout
    answer = application("exec", "client", "--", "wget", "-qO-", "http://shop").stdout
    assert answer == "hello from a pod\n"
    machine(helm, "uninstall", "shop", *options)
