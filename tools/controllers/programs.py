"""Contour and cert-manager, built once from their Go modules; manifests and charts come with the modules.

Nothing of them is in the repository: what is installed is read from the module folder of the version in go.mod.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from loft.embedded import binaries
from loft.embedded.binaries import Progress
from loft.embedded.layout import cache_root

MODULES = {"contour": "github.com/projectcontour/contour", "cert-manager": "github.com/cert-manager/cert-manager"}
_PACKAGES = {"contour": "github.com/projectcontour/contour/cmd/contour", "cert-manager": "."}
_SOURCES = Path(__file__).parent
_FLAGS = ("-trimpath", "-ldflags", "-s -w")


def digest(name: str) -> str:
    """Return a digest over what a program is built from."""
    found = hashlib.sha256(repr(_FLAGS).encode())
    for path in sorted((_SOURCES / name).iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:20]


def program(name: str) -> Path:
    """Return the path of a built program."""
    return cache_root() / f"controller-{name}" / digest(name) / name


def ensure(name: str, progress: Progress) -> Path:
    """Build a program if it is missing (2 to 5 minutes on two cores, once) and return it. Raises: BuildError."""
    target = program(name)
    folder = target.parent.parent
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not target.exists():
            progress(f"building {name}")
            temporary = folder / f".{name}.new"
            words = [binaries.go_tool(progress), "build", "-mod=readonly", *_FLAGS, "-o", str(temporary)]
            binaries.run_build([*words, _PACKAGES[name]], _SOURCES / name, progress, name)
            target.parent.mkdir(exist_ok=True)
            temporary.rename(target)
        for other in folder.iterdir():
            if other.is_dir() and other != target.parent:
                shutil.rmtree(other)
    finally:
        os.close(handle)
    return target


def module(name: str, progress: Progress) -> Path:
    """Return the folder of a program's module, of the version that the program is built from. Raises: BuildError."""
    words = [binaries.go_tool(progress), "mod", "download", "-json", MODULES[name]]
    done = subprocess.run(words, cwd=_SOURCES / name, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise binaries.BuildError(f"the module of {name} is not there: {(done.stderr or done.stdout).strip()[-500:]}")
    return Path(json.loads(done.stdout)["Dir"])
