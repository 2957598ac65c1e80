"""The store of a virtual cluster, reached as its owner may reach it: `kubectl exec` into its control plane's pod.

No way of ours around Kubernetes' rights: who may exec in the host namespace may take and put back the store, nobody
else. The container has one program, `kubernetes store` (see embedded/build/kubernetes/store.go).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from loft.cli import contexts, direct, exitcode, names, snapshots, virtual_clusters
from loft.cli.app import Session
from loft.cli.failure import Failure
from loft.cli.platform_api import connect
from loft.cli.restoring import TRANSFER_S, holder, size_refusal, version_refusal

CALL_S = 60
READY_S = 180
POLL_S = 0.5
HOLDER_PREFIX = "loft-snapshot-"
NOT_FOUND = "NotFound"
ASK_READY = (
    "--server=https://127.0.0.1:8443",
    "--certificate-authority=/run/loft/pki/ca.crt",
    # Without any, kubectl would ask for a name.
    "--username=anybody",
    "--password=none",
    "--request-timeout=5s",
    "get",
    "--raw=/readyz",
)
"""Anybody may ask that."""


def located(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options by which `reached` finds a virtual cluster."""
    for option in (
        click.option(
            "--kubeconfig", default="", help="Use this kubeconfig of the host cluster instead of an instance."
        ),
        click.option("--space", type=names.SPACE, default="", help="The space to use."),
        click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Where:
    """One virtual cluster, and a kubeconfig for its host namespace."""

    name: str
    """Of its release."""
    namespace: str
    kubeconfig: str
    """File name; empty means kubectl's own rules."""


@contextmanager
def reached(session: Session, name: str, given: dict[str, Any]) -> Iterator[Store]:
    """Give the store of a virtual cluster, found as other commands do or, with `kubeconfig`, without an instance."""
    if given["kubeconfig"]:
        if not given["space"]:
            raise Failure("--kubeconfig needs --space, the namespace of the virtual cluster", exitcode.USAGE)
        yield Store(Where(name, given["space"], given["kubeconfig"]))
        return
    api = connect(session.state)
    home, found = virtual_clusters.find(api, name, given["cluster"], given["space"])
    access = direct.way_to(session, api, home, no_direct=True)
    space = found["metadata"]["namespace"]
    target = contexts.Context("loft", contexts.cluster_server(access), space, access)
    with tempfile.TemporaryDirectory(prefix="loft-") as folder:
        path = Path(folder) / "kubeconfig"
        path.write_text(contexts.render(target, session.state))
        # One that was warm before has a release of another name, and with it all names of its control plane.
        release = ((found.get("spec") or {}).get("helmRelease") or {}).get("name") or name
        yield Store(Where(release, space, str(path)))


class Store:
    """Takes and restores snapshots."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self._kubectl = shutil.which("kubectl") or ""
        if not self._kubectl:
            raise Failure("kubectl is needed and not on the PATH")

    def config(self) -> dict[str, Any]:
        """Return the hypervisor's configuration. Raises: Failure for what has no store of ours."""
        name = f"vc-{self.where.name}-config"
        found = self._get("configmap", name)
        if found is None:
            text = f"there is no virtual cluster {self.where.name} in {self.where.namespace}, or it is not deployed yet"
            raise Failure(text, exitcode.NOT_FOUND)
        config: dict[str, Any] = json.loads((found.get("data") or {}).get("config.json") or "{}")
        if not config.get("storeIsOurs", True):
            raise Failure("its store is an external etcd: take and restore snapshots by that one's own means")
        return config

    def save(self, path: Path) -> snapshots.Snapshot:
        """Write a snapshot to a file. Raises: Failure."""
        config, where = self.config(), self.where
        metadata = snapshots.Metadata(where.name, where.namespace, config["kubernetesVersion"], snapshots.now())
        with snapshots.writing(path, metadata) as file:
            self._exec(f"{where.name}-0", "etcd", ["store", "save"], output=file)
        return snapshots.inspect(path)

    def restore(self, path: Path) -> snapshots.Snapshot:
        """Replace the store by that of a snapshot and wait until the virtual cluster serves again. Raises: Failure."""
        found, config = snapshots.inspect(path), self.config()
        why = version_refusal(found.metadata.version, config["kubernetesVersion"])
        if why := why or size_refusal(found.size, int(config.get("storeLimit") or 0)):
            raise Failure(why, exitcode.CONFLICT)
        pods = [f"{self.where.name}-{number}" for number in range(int(config.get("replicas", 1)))]
        self._lay_ready(path, found, pods)
        # What they hold in memory is of the store that was; the controllers would not begin without an API server.
        self._restart(pods, ("kube-apiserver", "etcd"), self._is_served)
        self._restart(pods, ("kube-controller-manager",), self._is_ready)
        return found

    def _lay_ready(self, path: Path, found: snapshots.Snapshot, pods: Sequence[str]) -> None:
        """Give each replica the store that its etcd takes at its next start. Raises: Failure; then none has it."""
        # Of its own: members of the old and of the restored cluster must not take each other for theirs.
        token = secrets.token_hex(8)
        try:
            for pod in pods:
                with path.open("rb") as file:
                    file.seek(found.offset)
                    words = [pod, self._peer(pod), self._peers(pods), token]
                    command = ["store", "restore", str(found.size), *words]
                    self._exec(pod, "etcd", command, source=(file, found.size))
        except BaseException:
            for pod in pods:
                # It takes away what an earlier one has left, and ends since nothing comes.
                command = ["store", "restore", str(snapshots.DIGEST_BYTES + 1), pod, self._peer(pod), "", token]
                self._exec(pod, "etcd", command, check=False)
            raise

    def put(self, path: Path, claim: str, name: str) -> None:
        """Copy a file into a volume. Raises: Failure."""
        size = path.stat().st_size
        with self._holder(claim) as pod, path.open("rb") as file:
            self._exec(pod, "holder", ["store", "put", name, str(size)], source=(file, size))

    def get(self, path: Path, claim: str, name: str) -> None:
        """Copy a file out of a volume. Raises: Failure."""
        with self._holder(claim) as pod, path.open("wb") as file:
            self._exec(pod, "holder", ["store", "get", name], output=file)

    def _peer(self, pod: str) -> str:
        where = self.where
        return f"https://{pod}.{where.name}-headless.{where.namespace}.svc:2380"

    def _peers(self, pods: Sequence[str]) -> str:
        return ",".join(f"{pod}={self._peer(pod)}" for pod in pods)

    @contextmanager
    def _holder(self, claim: str) -> Iterator[str]:
        """Run a pod that has the volume mounted and does nothing."""
        if self._get("persistentvolumeclaim", claim) is None:
            text = f"there is no PersistentVolumeClaim {claim} in {self.where.namespace}"
            raise Failure(text, exitcode.NOT_FOUND)
        owner = self._get("pod", f"{self.where.name}-0") or {}
        images = {item["name"]: item["image"] for item in (owner.get("spec") or {}).get("containers") or ()}
        name = HOLDER_PREFIX + secrets.token_hex(4)
        self._call(["create", "-f", "-"], stdin=json.dumps(holder(name, images.get("etcd", ""), claim)))
        try:
            self._call(["wait", f"pod/{name}", "--for=condition=Ready", f"--timeout={CALL_S}s"], timeout_s=CALL_S + 10)
            yield name
        finally:
            self._call(["delete", "pod", name, "--wait=false", "--ignore-not-found"])

    def _restart(self, pods: Sequence[str], containers: Sequence[str], is_back: Callable[[str], bool]) -> None:
        """End containers, which are then started again, and wait for it. Raises: Failure TIMEOUT."""
        before = {pod: self._restarts(pod) for pod in pods}
        for pod in pods:
            for container in containers:
                # The end of a container ends our command in it, too.
                self._exec(pod, container, ["store", "end"], check=False)
        deadline = time.monotonic() + READY_S
        waiting = list(pods)
        while waiting:
            if time.monotonic() > deadline:
                text = f"the store is restored, but {waiting[0]} does not serve again after {READY_S} s; see its logs"
                raise Failure(text, exitcode.TIMEOUT)
            time.sleep(POLL_S)
            now = self._restarts(waiting[0])
            is_new = all(now.get(name, 0) > before[waiting[0]].get(name, 0) for name in containers)
            if is_new and is_back(waiting[0]):
                waiting.pop(0)

    def _restarts(self, pod: str) -> dict[str, int]:
        statuses = ((self._get("pod", pod) or {}).get("status") or {}).get("containerStatuses") or ()
        return {item["name"]: int(item.get("restartCount") or 0) for item in statuses}

    def _is_served(self, pod: str) -> bool:
        """Whether the API server of a pod says that it is ready; the pod's condition would be seconds old."""
        words = ["exec", pod, "-c", "kube-apiserver", "--", "kubectl", *ASK_READY]
        return self._run(words, timeout_s=CALL_S).returncode == 0

    def _is_ready(self, pod: str) -> bool:
        status = (self._get("pod", pod) or {}).get("status") or {}
        return any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions") or ())

    def _get(self, kind: str, name: str) -> dict[str, Any] | None:
        result = self._run(["get", kind, name, "-o", "json"], timeout_s=CALL_S)
        if result.returncode and NOT_FOUND in result.stderr.decode(errors="replace"):
            return None
        found: dict[str, Any] = json.loads(self._checked(result))
        return found

    def _call(self, words: list[str], *, stdin: str = "", timeout_s: float = CALL_S) -> None:
        self._checked(self._run(words, stdin=stdin.encode(), timeout_s=timeout_s))

    def _checked(self, result: subprocess.CompletedProcess[bytes]) -> bytes:
        if result.returncode:
            raise _failure(result.stderr)
        return result.stdout

    def _run(self, words: list[str], *, stdin: bytes = b"", timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                self._command(words), input=stdin, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Failure(f"kubectl {words[0]} did not end within {timeout_s:.0f} s", exitcode.TIMEOUT) from error

    def _command(self, words: list[str]) -> list[str]:
        flag = [f"--kubeconfig={self.where.kubeconfig}"] if self.where.kubeconfig else []
        return [self._kubectl, *flag, "-n", self.where.namespace, *words]

    def _exec(
        self,
        pod: str,
        container: str,
        words: list[str],
        *,
        source: tuple[IO[bytes], int] | None = None,
        output: IO[bytes] | None = None,
        check: bool = True,
    ) -> None:
        """Run `kubernetes …` in a container; `source` is a file and how much of it goes to standard input."""
        command = self._command(["exec", *(["-i"] if source else []), pod, "-c", container, "--", "kubernetes", *words])
        if output is not None:
            output.flush()
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as sink:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if source else subprocess.DEVNULL,
                stdout=output if output is not None else sink,
                stderr=said,
            )
            try:
                if source:
                    _feed(process, *source)
                code = process.wait(TRANSFER_S)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            if code and check:
                said.seek(0)
                raise _failure(said.read())


def _feed(process: subprocess.Popen[bytes], file: IO[bytes], size: int) -> None:
    assert process.stdin is not None, "it was asked for"
    try:
        for chunk in snapshots.part(file, size):
            process.stdin.write(chunk)
        process.stdin.close()
    except BrokenPipeError:
        # The program has ended; why, its exit code and words say.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), process.stdin.fileno())


def _failure(said: bytes) -> Failure:
    text = " ".join(said.decode(errors="replace").split())[-600:]
    forbidden = "forbidden" in text.lower()
    return Failure(text or "kubectl failed without a word", exitcode.FORBIDDEN if forbidden else exitcode.ERROR)
