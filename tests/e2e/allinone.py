"""A Kubernetes in one process tree, as distributions for small machines are: own certificates, own store.

It is run as an image of its own and knows nothing of who runs it: only what its flags say.
"""

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

OFF = (
    "node-ipam-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "ttl-controller",
)


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Keys:
    """Everything by openssl, in one folder that outlives a restart."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name):
        return str(self.folder / name)

    def authority(self):
        if not (self.folder / "ca.crt").exists():
            self._key("ca")
            extensions = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
            request = ("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=all-in-one", "-days", "30")
            openssl(self.folder, *request, *extensions, "-out", "ca.crt")

    def issue(self, name, subject, usage, names=""):
        if (self.folder / f"{name}.crt").exists():
            return
        self._key(name)
        openssl(self.folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
        extensions = f"extendedKeyUsage={usage}\n" + (f"subjectAltName={names}\n" if names else "")
        (self.folder / f"{name}.ext").write_text(extensions)
        signed = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(self.folder, *signed, "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.crt")

    def signing(self):
        if not (self.folder / "sa.pub").exists():
            self._key("sa")
            openssl(self.folder, "ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")

    def _key(self, name):
        openssl(self.folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")

    def kubeconfig(self, name, port):
        def data(file):
            return base64.b64encode((self.folder / file).read_bytes()).decode()

        server = f"https://127.0.0.1:{port}"
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "c", "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}
                ],
                "users": [
                    {
                        "name": "u",
                        "user": {
                            "client-certificate-data": data(f"{name}.crt"),
                            "client-key-data": data(f"{name}.key"),
                        },
                    }
                ],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )


def commands(options, keys):
    socket = f"unix://{options.data_dir}/etcd.sock"
    server = [
        *("kube-apiserver", f"--etcd-servers={socket}", f"--secure-port={options.port}"),
        *(f"--advertise-address={options.advertise_address}", f"--service-cluster-ip-range={options.service_cidr}"),
        *("--endpoint-reconciler-type=none", "--authorization-mode=Node,RBAC", "--allow-privileged=true"),
        *(f"--tls-cert-file={keys.path('server.crt')}", f"--tls-private-key-file={keys.path('server.key')}"),
        *(f"--client-ca-file={keys.path('ca.crt')}", f"--kubelet-certificate-authority={keys.path('ca.crt')}"),
        *(
            f"--kubelet-client-certificate={keys.path('kubelet.crt')}",
            f"--kubelet-client-key={keys.path('kubelet.key')}",
        ),
        *(
            f"--service-account-key-file={keys.path('sa.pub')}",
            f"--service-account-signing-key-file={keys.path('sa.key')}",
        ),
        *(
            "--service-account-issuer=https://kubernetes.default.svc",
            "--disable-admission-plugins=TaintNodesByCondition",
        ),
    ]
    manager = [
        *("kube-controller-manager", f"--kubeconfig={keys.path('manager.conf')}", "--leader-elect=false"),
        *("--use-service-account-credentials=true", f"--service-account-private-key-file={keys.path('sa.key')}"),
        *(f"--root-ca-file={keys.path('ca.crt')}", f"--cluster-signing-cert-file={keys.path('ca.crt')}"),
        *(f"--cluster-signing-key-file={keys.path('ca.key')}", "--secure-port=0"),
        "--controllers=*," + ",".join(f"-{name}" for name in OFF),
    ]
    peer = "http://127.0.0.1:0"
    etcd = [
        *("etcd", f"--data-dir={options.data_dir}/etcd", f"--listen-client-urls={socket}", "--name=one"),
        *("--advertise-client-urls=http://127.0.0.1:2379", f"--listen-peer-urls={peer}", "--log-level=warn"),
    ]
    return etcd, server, manager


def wait_for_api(options, keys):
    import ssl

    context = ssl.create_default_context(cafile=keys.path("ca.crt"))
    context.load_cert_chain(keys.path("admin.crt"), keys.path("admin.key"))
    while True:
        try:
            url = f"https://127.0.0.1:{options.port}/readyz"
            with urllib.request.urlopen(url, context=context, timeout=2):
                return
        except OSError:
            time.sleep(0.3)


def main():
    parser = argparse.ArgumentParser()
    for flag in ("data-dir", "write-kubeconfig", "service-cidr", "advertise-address", "port"):
        parser.add_argument(f"--{flag}", required=True)
    parser.add_argument("--tls-san", action="append", default=[])
    options = parser.parse_args()
    keys = Keys(Path(options.data_dir) / "tls")
    keys.authority()
    keys.signing()
    names = ["127.0.0.1", "localhost", "kubernetes.default.svc", options.advertise_address, *options.tls_san]
    texts = [f"{'IP' if name.replace('.', '').isdigit() else 'DNS'}:{name}" for name in names]
    (keys.folder / "server.crt").unlink(missing_ok=True)
    keys.issue("server", "/CN=server", "serverAuth", ",".join(texts))
    keys.issue("admin", "/O=system:masters/CN=admin", "clientAuth")
    keys.issue("kubelet", "/O=system:masters/CN=apiserver-kubelet-client", "clientAuth")
    keys.issue("manager", "/CN=system:kube-controller-manager", "clientAuth")
    Path(keys.path("manager.conf")).write_text(keys.kubeconfig("manager", options.port))
    *first, manager = commands(options, keys)
    children = [subprocess.Popen(command) for command in first]

    def end(*_):
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, end)
    wait_for_api(options, keys)
    children.append(subprocess.Popen(manager))
    target = Path(options.write_kubeconfig)
    new = target.with_suffix(".new")
    new.write_text(keys.kubeconfig("admin", options.port))
    new.chmod(0o640)
    new.rename(target)
    os.wait()
    for child in children:
        child.kill()
    return 1


if __name__ == "__main__":
    sys.exit(main())
