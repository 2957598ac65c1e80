"""A real etcd and kube-apiserver (and controller-manager where asked for) as processes on loopback, for tests.

RBAC is on, there is no kubelet. Everything lives in one temporary directory. The processes die with the test
process, however that ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

from loft.kube.config import Endpoint, to_kubeconfig
from loft.pki.authority import KeyPair, issue, new_authority
from loft.pki.serviceaccount import new_signing_key

READY_S = 60.0
STOP_S = 15.0
# The kernel takes the thread that started a process for its parent: one thread that lives as long as the tests.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def binary() -> Path | None:
    """The multi-call binary; None when it has not been built."""
    if given := os.environ.get("LOFT_TEST_KUBERNETES"):
        return Path(given)
    from loft.embedded import binaries

    try:
        return Path(binaries.find("kubernetes"))
    except binaries.BuildError:
        return None


class ApiServer:
    """One API server with its store; `endpoint` and `kubeconfig` are those of a cluster administrator."""

    def __init__(
        self,
        directory: Path,
        program: Path,
        *,
        extra_args: Sequence[str] = (),
        controller_manager: bool = False,
        service_cidr: str = "10.96.0.0/16",
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.port, self._etcd_port, self._peer_port = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.etcd_url = f"http://127.0.0.1:{self._etcd_port}"
        self._program = program
        self._extra_args = list(extra_args)
        self._with_controllers = controller_manager
        self._service_cidr = service_cidr
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._now = datetime.now(UTC)
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = new_authority("test-ca", self._now)
        self.front_proxy_authority = new_authority("test-front-proxy-ca", self._now)
        self.front_proxy = issue(
            self.front_proxy_authority, common_name="front-proxy-client", usage="client", now=self._now
        )
        # The first address of the service range is the API server's own Service.
        first = str(next(ip_network(service_cidr).hosts()))
        serving = issue(
            self.authority,
            common_name="kube-apiserver",
            dns=("localhost", "kubernetes.default.svc", *dns),
            ips=("127.0.0.1", first, *ips),
            usage="server",
            now=self._now,
        )
        signing, public = new_signing_key()
        self._write("ca.crt", self.authority.cert)
        self._write("ca.key", self.authority.key)
        self._write("front-proxy-ca.crt", self.front_proxy_authority.cert)
        self._write("sa.key", signing)
        self._write("sa.pub", public)
        self._pair("serving", serving)
        self._pair("front-proxy", self.front_proxy)
        self.endpoint = self.endpoint_for("test-admin", ("system:masters",))
        self.kubeconfig = directory / "admin.kubeconfig"
        self._write("admin.kubeconfig", to_kubeconfig(self.endpoint, "test"))

    def endpoint_for(self, user: str, groups: Sequence[str] = ()) -> Endpoint:
        """An endpoint with a client certificate of that user and groups; without rights of its own."""
        pair = issue(self.authority, common_name=user, organizations=groups, usage="client", now=self._now)
        return Endpoint(
            server=self.url,
            ca_data=self.authority.cert,
            client_cert=pair.cert,
            client_key=pair.key,
            namespace="default",
        )

    def start(self) -> None:
        """Start everything and return when it is ready."""
        try:
            self.start_etcd()
            self.start_api()
            if self._with_controllers:
                self.start_controllers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything; the store's content stays for another start."""
        # Without its etcd the API server does not end in an orderly way.
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            self.end(name)

    def restart_api(self) -> None:
        """End the API server as a crash would, and start it again on the same port and store."""
        self.end("kube-apiserver", signal.SIGKILL)
        self.start_api()

    def start_etcd(self) -> None:
        peer = f"http://127.0.0.1:{self._peer_port}"
        self._spawn(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._wait("etcd", f"{self.etcd_url}/health")

    def start_api(self) -> None:
        folder = self.directory
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers={self.etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port}",
            f"--tls-cert-file={folder / 'serving.crt'}",
            f"--tls-private-key-file={folder / 'serving.key'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            f"--requestheader-client-ca-file={folder / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={folder / 'front-proxy.crt'}",
            f"--proxy-client-key-file={folder / 'front-proxy.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={self._service_cidr}",
            "--allow-privileged=true",
            "--profiling=false",
            *self._extra_args,
        )
        self._wait("kube-apiserver", f"{self.url}/readyz")

    def start_controllers(self) -> None:
        port = free_ports(1)[0]
        folder = self.directory
        self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--root-ca-file={folder / 'ca.crt'}",
            f"--service-account-private-key-file={folder / 'sa.key'}",
            f"--cluster-signing-cert-file={folder / 'ca.crt'}",
            f"--cluster-signing-key-file={folder / 'ca.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
        )
        self._wait("kube-controller-manager", f"https://127.0.0.1:{port}/healthz", verify=False)

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one process, by force when it takes too long."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def compact(self) -> None:
        """Forget the store's history up to now, as etcd does in the long run."""
        revision = self._etcd("kv/range", {"key": "AA==", "limit": 1})["header"]["revision"]
        self._etcd("kv/compaction", {"revision": revision, "physical": True})

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def _etcd(self, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
        request = urllib.request.Request(f"{self.etcd_url}/v3/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))

    def _spawn(self, name: str, *args: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = _spawner.submit(
                subprocess.Popen,
                bound_to_us(self._program, name, *args),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            ).result()

    def _wait(self, name: str, url: str, *, verify: bool = True) -> None:
        tls = ssl.create_default_context(cadata=self.authority.cert.decode())
        if not verify:  # the controller-manager makes a certificate of its own at each start
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        tls.load_cert_chain(self._admin_files()[0], self._admin_files()[1])
        until = time.monotonic() + READY_S
        why: object = ""
        while time.monotonic() < until:
            if self._processes[name].poll() is not None:
                break
            try:
                context = tls if url.startswith("https") else None
                with urllib.request.urlopen(url, timeout=5, context=context):
                    return
            except urllib.error.HTTPError as error:
                why = error.read()[:500]
                error.close()
            except OSError as error:
                why = error
            time.sleep(0.05)
        raise RuntimeError(f"{name} is not ready ({why}):\n{self.log(name)[-3000:]}")

    def _admin_files(self) -> tuple[Path, Path]:
        certificate, key = self.directory / "admin.crt", self.directory / "admin.key"
        if not key.exists():
            self._write("admin.crt", self.endpoint.client_cert)
            self._write("admin.key", self.endpoint.client_key)
        return certificate, key

    def _pair(self, name: str, pair: KeyPair) -> None:
        self._write(f"{name}.crt", pair.cert)
        self._write(f"{name}.key", pair.key)

    def _write(self, name: str, data: bytes) -> None:
        path = self.directory / name
        path.touch(0o600)
        path.write_bytes(data)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def bound_to_us(program: Path, name: str, *args: str) -> list[str]:
    """Return the command that runs a component and ends with the thread that started it, also when that is killed.

    By setpriv, not by a function between fork and exec: other libraries of this process run code of theirs there.
    """
    setpriv = shutil.which("setpriv")
    assert setpriv is not None, "util-linux is among the packages of tools/setup.sh"
    return [setpriv, "--pdeathsig", "KILL", "--", str(program), name, *args]
