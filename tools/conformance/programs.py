"""The programs of the conformance run, built once from their Go modules: e2e.test, agnhost, sample-apiserver."""

from __future__ import annotations

import functools
import hashlib
import shutil
from pathlib import Path

from loft.embedded import binaries
from loft.embedded.binaries import Progress
from loft.embedded.layout import KUBERNETES_VERSION, cache_root

SUITE = Path(__file__).parent / "suite"
PROGRAMS = {
    "e2e.test": ("test", "-c", "-trimpath"),
    "agnhost": ("build", "-trimpath"),
    "nnp": ("build", "-trimpath"),
    "sample-apiserver": ("build", "-trimpath"),
}
_PACKAGES = {
    "e2e.test": ".",
    "agnhost": "k8s.io/kubernetes/test/images/agnhost",
    "nnp": "k8s.io/kubernetes/test/images/nonewprivs",
    "sample-apiserver": "k8s.io/sample-apiserver",
}
_VERSION = "k8s.io/component-base/version"


def folder() -> Path:
    """Return where everything of conformance is kept, outside the repository."""
    return cache_root() / f"conformance-{KUBERNETES_VERSION}"


@functools.cache
def digest() -> str:
    """Return a digest over what the programs are built from; a run keeps what it began with."""
    found = hashlib.sha256(repr(PROGRAMS).encode())
    for path in sorted(SUITE.iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:20]


def program(name: str) -> Path:
    """Return the path of one built program."""
    return folder() / f"programs-{digest()}" / name


def ensure(progress: Progress) -> None:
    """Build what is missing (about 7 minutes on two cores, once). Raises: BuildError."""
    target = program("").resolve()
    target.mkdir(parents=True, exist_ok=True)
    for name, command in PROGRAMS.items():
        if program(name).exists():
            continue
        progress(f"building {name}")
        temporary = target / f".{name}.new"
        stamps = f"-X {_VERSION}.gitVersion={KUBERNETES_VERSION}"
        words = [binaries.go_tool(progress), *command, "-ldflags", f"-s -w {stamps}", "-o", str(temporary)]
        binaries.run_build([*words, _PACKAGES[name]], SUITE, progress, name)
        temporary.rename(target / name)
    for other in folder().glob("programs-*"):
        if other.resolve() != target:
            shutil.rmtree(other)
