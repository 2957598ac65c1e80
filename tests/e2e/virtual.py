"""A virtual cluster by its chart with values of a test's own, and what is on the host for it."""

import base64
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import yaml

from e2e.shell import wait_for
from loft.helm.charts import chart_path

MANAGED = "vcluster.loft.sh/managed-by"
HOST_KINDS = "pods,services,endpointslices,configmaps,secrets,persistentvolumeclaims,serviceaccounts,leases"
RELEASE_KINDS = f"{HOST_KINDS},statefulsets,roles,rolebindings,ingresses"

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "loft.sh/demo:1", command: [httpd, -f, -p, "8080", -h, /www]}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: 8080}]}
"""


def settings(values):
    """`--set` words. LOFT_E2E_VALUES has more of them, for images that are being worked on."""
    given = os.environ.get("LOFT_E2E_VALUES", "")
    joined = [f"{key}={value}" for key, value in values.items()]
    return [word for item in [*filter(None, given.split(",")), *joined] for word in ("--set", item)]


class VirtualCluster:
    """One release in a namespace of the same name."""

    def __init__(self, machine, name, folder):
        self.machine, self.name, self.namespace = machine, name, name
        self.path = Path(folder) / f"{name}.kubeconfig"
        self.files = []
        """Files of values, beside those that are given to `install`."""

    def helm(self, verb, values, check=True):
        cidr = self.machine.get("servicecidr", "kubernetes")["spec"]["cidrs"][0]
        words = (verb, self.name, str(chart_path("virtualcluster")), "-n", self.namespace)
        files = [word for file in self.files for word in ("-f", str(file))]
        return self.machine.helm(*words, *files, *settings({"serviceCIDR": cidr} | values), check=check)

    def install(self, **values):
        self.helm("install", values)
        self.wait_ready(int(values.get("controlPlane.replicas", 1)))
        self.write_kubeconfig()
        return self

    def wait_ready(self, replicas=1, timeout_s=240):
        where = ("-n", self.namespace)
        for number in range(replicas):
            pod = f"pod/{self.name}-{number}"
            self.machine.kubectl("wait", *where, pod, "--for=create", "--timeout=60s")
            wait = ("wait", *where, pod, "--for=condition=Ready", f"--timeout={timeout_s}s")
            self.machine.kubectl(*wait, timeout=timeout_s + 10)

    def rollout(self, timeout_s=300):
        words = ("rollout", "status", "-n", self.namespace, f"statefulset/{self.name}", f"--timeout={timeout_s}s")
        self.machine.kubectl(*words, timeout=timeout_s + 10)
        wait_for(lambda: self("get", "--raw", "/readyz", check=False).returncode == 0)

    def write_kubeconfig(self):
        secret = self.machine.get("secret", f"vc-{self.name}", "-n", self.namespace)
        address = self.machine.get("service", self.name, "-n", self.namespace)["spec"]["clusterIP"]
        config = yaml.safe_load(base64.b64decode(secret["data"]["config"]))
        config["clusters"][0]["cluster"]["server"] = f"https://{address}:443"
        self.path.write_text(yaml.safe_dump(config))
        wait_for(lambda: self("get", "--raw", "/readyz", check=False).returncode == 0)

    def __call__(self, *words, **options):
        return self.machine.kubectl(f"--kubeconfig={self.path}", *words, **options)

    def get(self, *words):
        return json.loads(self("get", *words, "-o", "json").stdout)

    def deploy(self, name, replicas=1, patience_s=0):
        """Make a Deployment and its Service; `patience_s` is how long a refusal may last."""
        body = DEPLOYMENT.replace("NAME", name).replace("REPLICAS", str(replicas))
        if patience_s:
            wait_for(lambda: self("apply", "-f", "-", stdin=body, check=False).returncode == 0, patience_s)
        else:
            self("apply", "-f", "-", stdin=body)
        self("rollout", "status", f"deployment/{name}", "--timeout=90s")

    def answers(self, name):
        """Whether a Service inside is served, asked from one of its pods."""
        words = ("exec", f"deploy/{name}", "--", "timeout", "3", "wget", "-qO-", f"http://{name}")
        return self(*words, check=False).stdout == "hello from a pod\n"

    def host_objects(self, kinds="pods,services,configmaps,secrets"):
        """kind/name -> uid of what the hypervisor has made."""
        items = self.machine.get(kinds, "-n", self.namespace, "-l", f"{MANAGED}={self.name}")["items"]
        return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["uid"] for item in items}

    def pods_match(self):
        """Whether every pod inside has exactly one on the host, and no more are there."""
        inside = sorted(item["status"].get("podIP", "") for item in self.get("pods", "-A")["items"])
        labels = ("-n", self.namespace, "-l", f"{MANAGED}={self.name}")
        outside = sorted(item["status"].get("podIP", "") for item in self.machine.get("pods", *labels)["items"])
        return inside == outside and "" not in inside

    def leader(self):
        return self.machine.get("lease", f"vc-{self.name}", "-n", self.namespace)["spec"]["holderIdentity"]

    def left(self):
        """Everything of it that the host namespace still holds."""
        items = self.machine.get(RELEASE_KINDS, "-n", self.namespace)["items"]
        usual = {"ServiceAccount/default", "ConfigMap/kube-root-ca.crt"}
        names = {f"{item['kind']}/{item['metadata']['name']}" for item in items}
        return sorted(names - usual)

    def remove(self):
        self.machine.helm("uninstall", self.name, "-n", self.namespace, check=False)
        self.machine.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--timeout=90s", timeout=100)


def kill_process(program, namespace, pod, number=signal.SIGKILL):
    """Send a signal to a program of a pod's container, found by the pod's own host name; return its pid."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if Path(words[0].decode()).name != program and program.encode() not in words:
                continue
            variables = (folder / "environ").read_bytes().split(b"\0")
            if f"HOSTNAME={pod}".encode() in variables and _is_in(folder, namespace):
                os.kill(int(folder.name), number)
                return int(folder.name)
    raise AssertionError(f"{program} of {namespace}/{pod} does not run")


def _is_in(folder, namespace):
    """Whether a process' container has the namespace in its name search list."""
    return f" {namespace}.svc." in (folder / "root/etc/resolv.conf").read_text().replace("search ", "search  ")


@contextlib.contextmanager
def asked_all_the_time(cluster, every_s=0.3):
    """Ask the API server again and again meanwhile; gives a list of the times (s) between two answers."""
    import threading

    ended, gaps = threading.Event(), []

    def ask():
        last = time.monotonic()
        while not ended.wait(every_s):
            words = ("get", "namespace", "default", "--request-timeout=5s")
            if cluster(*words, check=False).returncode == 0:
                gaps.append(time.monotonic() - last)
                last = time.monotonic()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield gaps
    finally:
        ended.set()
        thread.join()
