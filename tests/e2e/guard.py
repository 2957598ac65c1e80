"""A tenant's own webhook, run as a pod inside, that lets nobody enter the tenant's pods."""

import base64
import json
from datetime import UTC, datetime

from loft.pki.authority import issue, new_authority

WAYS = ["pods/exec", "pods/attach", "pods/portforward"]

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


def post(kubectl, folder, namespace):
    """Run the webhook's server, then register it for every way into a pod."""
    authority, now = new_authority("guard", datetime.now(UTC)), datetime.now(UTC)
    pair = issue(authority, common_name="guard", dns=(f"guard.{namespace}.svc",), usage="server", now=now, days=1)
    files = {"tls.crt": pair.cert, "tls.key": pair.key, "guard.py": GUARD.encode()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    given = [f"--from-file={folder / name}" for name in files]
    kubectl("create", "secret", "generic", "guard", "-n", namespace, *given)
    kubectl("apply", "-n", namespace, "-f", "-", stdin=GUARD_POD)
    kubectl("wait", "-n", namespace, "pod/guard", "--for=condition=Ready", "--timeout=60s")
    webhook = {
        "name": "enter.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 5,
        "clientConfig": {
            "service": {"namespace": namespace, "name": "guard"},
            "caBundle": base64.b64encode(authority.cert).decode(),
        },
        "rules": [{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": WAYS}],
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "guard"},
        "webhooks": [webhook],
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(configuration))


def relieve(kubectl, namespace):
    """Take the webhook away, then its server."""
    kubectl("delete", "validatingwebhookconfiguration", "guard", "--ignore-not-found")
    kubectl("delete", "pod/guard", "service/guard", "secret/guard", "-n", namespace, "--ignore-not-found")
