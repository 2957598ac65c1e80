"""Ways into and out of a virtual cluster: mapped Services, proxies, and a tenant's say over who may enter its pods."""

import base64
import json
import os
from datetime import UTC, datetime

import pytest

from e2e.shell import wait_for
from e2e.virtual import VirtualCluster
from loft.pki.authority import issue, new_authority

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

GUARD = """
import json, ssl
from http.server import BaseHTTPRequestHandler, HTTPServer


class Guard(BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        said = f"{request['operation']} {request['resource']['resource']}/{request['subResource']} is not for you"
        review["response"] = {"uid": request["uid"], "allowed": False, "status": {"message": said}}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = HTTPServer(("", 8443), Guard)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/guard/tls.crt", "/etc/guard/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

GUARD_POD = """
apiVersion: v1
kind: Pod
metadata: {name: guard, labels: {app: guard}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: loft.sh/demo:1
    command: [python3, /etc/guard/guard.py]
    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
    volumeMounts: [{name: files, mountPath: /etc/guard}]
  volumes: [{name: files, secret: {secretName: guard}}]
---
apiVersion: v1
kind: Service
metadata: {name: guard}
spec: {selector: {app: guard}, ports: [{port: 443, targetPort: 8443}]}
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


def test_the_api_servers_proxies_reach_pods_and_services_and_nothing_of_the_host(cluster, machine):
    for path in ("services/shop:80", "pods/shop:8080"):
        raw = f"/api/v1/namespaces/apps/{path}/proxy/"
        assert wait_for(lambda raw=raw: cluster("get", "--raw", raw, check=False).stdout) == "from shop\n"
    words = ("kubectl", f"--kubeconfig={cluster.path}", "proxy", "--port=18081")
    with machine.started(*words) as proxy:
        assert "Starting to serve" in proxy.stdout.readline()
        url = "http://127.0.0.1:18081/api/v1/namespaces/apps/services/shop:80/proxy/"
        assert machine("curl", "-s", "-m", "5", url).stdout == "from shop\n"
    # A mapped Service is an address for pods; the API server is no way to it.
    assert cluster("get", "--raw", "/api/v1/namespaces/apps/services/archive:80/proxy/", check=False).returncode


def test_a_process_that_waits_is_attached_to(cluster, machine):
    pod = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "asks"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "main",
                        "image": "loft.sh/demo:1",
                        "command": ["sh", "-c", "read line; echo got $line"],
                        "stdin": True,
                        "stdinOnce": True,
                    }
                ],
            },
        }
    )
    cluster("apply", "-n", "apps", "-f", "-", stdin=pod)
    cluster("wait", "-n", "apps", "pod/asks", "--for=condition=Ready", "--timeout=60s")
    assert "got it" in cluster("attach", "-i", "-n", "apps", "asks", stdin="it\n").stdout
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    cluster("wait", "-n", "apps", "pod/asks", ended, "--timeout=30s")
    assert cluster("logs", "-n", "apps", "asks", "--since=5m").stdout == "got it\n"
    assert cluster("logs", "-n", "apps", "asks", "--since-time=2100-01-01T00:00:00Z").stdout == ""


def test_a_tenants_webhook_decides_who_enters_pods(cluster, tmp_path):
    authority = new_authority("guard", datetime.now(UTC))
    pair = issue(authority, common_name="guard", dns=("guard.apps.svc",), usage="server", now=datetime.now(UTC), days=1)
    files = {"tls.crt": pair.cert, "tls.key": pair.key, "guard.py": GUARD.encode()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    given = [f"--from-file={tmp_path / name}" for name in files]
    cluster("create", "secret", "generic", "guard", "-n", "apps", *given)
    cluster("apply", "-n", "apps", "-f", "-", stdin=GUARD_POD)
    cluster("wait", "-n", "apps", "pod/guard", "--for=condition=Ready", "--timeout=60s")
    ways = ["pods/exec", "pods/attach", "pods/portforward"]
    webhook = {
        "name": "enter.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 5,
        "clientConfig": {
            "service": {"namespace": "apps", "name": "guard"},
            "caBundle": base64.b64encode(authority.cert).decode(),
        },
        "rules": [{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ways}],
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "guard"},
        "webhooks": [webhook],
    }
    cluster("apply", "-f", "-", stdin=json.dumps(configuration))
    try:
        for command in (("exec", "shop", "--", "true"), ("attach", "shop"), ("port-forward", "pod/shop", "18082:8080")):
            way = f"CONNECT pods/{command[0].replace('-', '')} is not for you"
            wait_for(lambda command=command, way=way: way in _said(cluster, command))
    finally:
        cluster("delete", "validatingwebhookconfiguration", "guard")
    wait_for(lambda: cluster("exec", "-n", "apps", "shop", "--", "true", check=False).returncode == 0)


def _said(cluster, command):
    """What kubectl says within some seconds: of the ways that are open it would not return."""
    words = ("timeout", "5", "kubectl", f"--kubeconfig={cluster.path}", "-n", "apps", *command)
    if command[0] != "port-forward":
        return cluster.machine(*words, check=False).stderr
    # A port is forwarded when somebody asks for it.
    with cluster.machine.started(*words) as forward:
        lines = [forward.stdout.readline()]
        if "Forwarding" in lines[0]:
            cluster.machine("curl", "-s", "-m", "2", "http://127.0.0.1:18082", check=False)
        lines += forward.stdout.readlines()
        return "".join(lines)
