"""What somebody does with a cluster all day, by kubectl and helm: the same steps wherever the cluster is."""

import select
from pathlib import Path

from e2e.shell import wait_for

CHART = Path(__file__).parent / "chart"

APPLICATION = """
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index.html: "served from %(where)s\\n"}
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
      containers:
      - name: web
        image: loft.sh/demo:1
        command: [sh, -c, "echo kept > /data/note; exec httpd -f -v -p 8080 -h /www"]
        volumeMounts: [{name: page, mountPath: /www}, {name: data, mountPath: /data}]
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


class Workday:
    """One person in one kube context; port-forwards take the given local port."""

    def __init__(self, person, context, where, port):
        self.person, self.context, self.where, self.port = person, context, where, port

    def kubectl(self, *words, **options):
        return self.person.kubectl("--context", self.context, *words, **options)

    def helm(self, *words, **options):
        return self.person.helm("--kube-context", self.context, *words, **options)

    def deploy(self):
        self.kubectl("apply", "-f", "-", stdin=APPLICATION % {"where": self.where})
        self.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        self.kubectl("wait", "pod/client", "--for=condition=Ready", "--timeout=60s")

    def fetch(self, url="http://web"):
        words = ("exec", "client", "--", "timeout", "3", "wget", "-qO-", url)
        return self.kubectl(*words, check=False).stdout

    def reaches_a_service_by_name(self):
        assert wait_for(self.fetch) == f"served from {self.where}\n"

    def follows_logs(self):
        words = ("kubectl", "--context", self.context, "logs", "-f", "deploy/web", "--tail=0")
        with self.person.started(*words) as following:
            # Asked again until a line has come: what happened before kubectl was connected is not followed.
            wait_for(lambda: self.fetch() and select.select([following.stdout], [], [], 1)[0])
            assert "response:200" in following.stdout.readline()

    def works_inside_a_container(self):
        words = ("exec", "-i", "client", "--", "sh", "-c", "cat; echo err >&2; exit 3")
        result = self.kubectl(*words, stdin="in", check=False)
        assert (result.returncode, result.stdout) == (3, "in")
        assert "err" in result.stderr

    def attaches(self):
        script = "read line; echo got $line"
        words = ("run", "ask", "--image=loft.sh/demo:1", "--restart=Never", "--stdin", "--rm", "--quiet", "--")
        result = self.kubectl(*words, "sh", "-c", f"sleep 2; {script}", stdin="it\n")
        assert "got it" in result.stdout

    def copies_files(self, folder):
        (folder / "a").write_text("copied" * 10_000)
        self.kubectl("cp", str(folder / "a"), "client:/tmp/a")
        self.kubectl("cp", "client:/tmp/a", str(folder / "b"))
        assert (folder / "b").read_text() == "copied" * 10_000

    def forwards_a_port(self):
        words = ("port-forward", "service/web", f"{self.port}:80", "--address=127.0.0.1")
        with self.person.started("kubectl", "--context", self.context, *words) as forward:
            assert "Forwarding from" in forward.stdout.readline()
            for _ in range(3):
                found = self.person("curl", "-s", "-m", "5", f"http://127.0.0.1:{self.port}").stdout
                assert found == f"served from {self.where}\n"

    def keeps_data(self):
        assert self.kubectl("exec", "deploy/web", "--", "cat", "/data/note").stdout == "kept\n"

    def installs_a_chart(self, release="shop"):
        self.helm("install", release, str(CHART), "--wait", "--timeout", "60s", timeout=90)
        assert release in self.helm("list").stdout
        assert wait_for(lambda: self.fetch(f"http://{release}")) == "hello from a pod\n"
        self.helm("uninstall", release)
