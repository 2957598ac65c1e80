"""The layers of the platform's images: each is a tar file in the cache, named by a digest over what it is made of.

The same inputs give the same bytes, on whatever machine: time stamps, owners and the paths inside bytecode are
fixed. What running needs not (documentation, locales, tests, what only development uses) is left out.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import loft
from loft.embedded import oci
from loft.embedded.binaries import Progress, find, source_digest
from loft.embedded.layout import cache_root

PACKAGE = Path(loft.__file__).parent
DEBIAN_SUITE = "bookworm"
IMAGE_PYTHON = (3, 11)
"""The Python of that suite."""
SITE = "/usr/local/lib/python3.11/dist-packages"
DEMO_APPLETS = ("httpd", "ifconfig", "ip", "nc", "netstat", "nslookup", "ping", "ps", "route", "top", "vi", "wget")


class ImageError(Exception):
    """An image could not be built or imported; the message says why."""


def sha(*parts: str) -> str:
    """Return a short digest over texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return a layer of the cache, made now by `make(path)` if it is not there."""
    path = cache_root() / "images" / f"layer-{name}-{key}.tar"
    if not path.exists():
        temporary = path.with_name(f".{path.name}.new")
        make(temporary)
        temporary.rename(path)
    return path


def _parents(*paths: str) -> list[tarfile.TarInfo]:
    found: dict[str, None] = {}
    for path in paths:
        for parent in list(reversed(Path(path).parents))[1:]:
            found.setdefault(str(parent).strip("/"))
    return [oci.folder(name) for name in found]


def binary(program: str, target: str, links: tuple[str, ...] = ()) -> Path:
    """Return the layer with one program at `target` and links to it beside it."""

    def make(path: Path) -> None:
        name = target.strip("/")
        entries = [*_parents(target), oci.folder("tmp", 0o1777), oci.file(name, 0o755)]
        entries += [oci.link(f"{name.rpartition('/')[0]}/{other}", name.rpartition("/")[2]) for other in links]
        oci.layer(entries, {name: find(program)}, path)

    return cached(program, sha(source_digest(program), target, *links), make)


def demo_key() -> str:
    """Return the digest over what `demo` is made of."""
    return sha("demo-3", *DEMO_APPLETS)


def demo() -> Path:
    """Return the layer with links for what Debian's minimal system lacks, and a page to serve."""

    def make(path: Path) -> None:
        entries = [*_parents("/usr/local/bin/wget"), oci.folder("www"), oci.file("www/index.html")]
        entries += [oci.link(f"usr/local/bin/{name}", "/bin/busybox") for name in DEMO_APPLETS]
        oci.layer(entries, {"www/index.html": b"hello from a pod\n"}, path)

    return cached("demo", demo_key(), make)


def base_key() -> str:
    """Return the digest over what `base` is made of."""
    return sha("base-2", DEBIAN_SUITE)


def base(progress: Progress) -> Path:
    """Return Debian with Python and nothing else: the smallest system that the platform's wheels run on."""
    packages = ("python3-minimal", "python3", "libpython3-stdlib", "ca-certificates", "busybox")
    return cached("base", base_key(), lambda path: debian(path, packages, progress))


def debian(path: Path, packages: Sequence[str], progress: Progress, hooks: Sequence[str] = ()) -> None:
    """Write a minimal Debian with some packages as a layer.

    Args:
        path: the tar file to write.
        packages: names of Debian packages.
        progress: told that it takes a while.
        hooks: shell commands at the end; $1 is the folder that holds the system.
    """
    progress("building the base system of the images (about 20 s, once)")
    command = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/i18n/*",
        *[f"--customize-hook={hook}" for hook in hooks],
        "--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/* $1/var/log/*",
        "--mode=root",
        "--format=tar",
        DEBIAN_SUITE,
        str(path),
    ]
    _run(command, "the base system could not be built")


def _run(command: Sequence[str], what: str, **environment: str) -> None:
    """Run a long step. Raises: ImageError with the end of its complaint."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=900, check=False, env=os.environ | environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{what}: {error}") from error
    if result.returncode:
        raise ImageError(f"{what}: {(result.stderr or result.stdout).strip()[-800:]}")


# Python packages


def _lock_file() -> Path:
    for place in (PACKAGE / "_requirements.lock", PACKAGE.parent.parent / "requirements.lock"):
        if place.exists():
            return place
    raise ImageError("requirements.lock is missing beside the package")


def needed(requires: Callable[[str], Iterable[str]], extra: str = "server") -> set[str]:
    """Return the names of all packages that ours needs to run, with one of its extras.

    Args:
        requires: gives the requirements of a package (as in its metadata); nothing for one that is unknown.
        extra: the extra of our own package.
    """
    wanted = re.compile(rf"""extra\s*==\s*['"]{extra}['"]""")
    todo = [item for item in requires("loft") if "extra" not in item.partition(";")[2] or wanted.search(item)]
    found: set[str] = set()
    while todo:
        matched = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", todo.pop().strip())
        name = re.sub(r"[-_.]+", "-", matched[0]).lower() if matched else ""
        if name and name not in found:
            found.add(name)
            todo += [item for item in requires(name) if "extra" not in item.partition(";")[2]]
    return found


def _installed_requirements(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def only(lock: str, names: set[str]) -> str:
    """Return a lock file with some of its packages (an entry is a line and its continued hash lines)."""
    kept, keep = [], False
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            keep = line.partition("==")[0].partition("[")[0].strip() in names
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _site_requirements() -> str:
    found = only(_lock_file().read_text(), needed(_installed_requirements))
    if "aiohttp==" not in found:
        raise ImageError("the metadata of the package is missing; install it: uv pip install --editable .")
    return found


def site_key() -> str:
    """Return the digest over what `site` is made of."""
    return sha("site-3", _site_requirements())


def site(progress: Progress) -> Path:
    """Return the locked Python packages for the image's Python, compiled."""

    def make(path: Path) -> None:
        progress("installing Python packages into the image (about 15 s, once)")
        with tempfile.TemporaryDirectory(prefix="loft-site-") as temporary:
            wanted = Path(temporary) / "requirements"
            wanted.write_text(_site_requirements())
            target = Path(temporary) / "site"
            python = ".".join(str(number) for number in IMAGE_PYTHON)
            platform = f"{os.uname().machine}-manylinux_2_36"
            command = [_uv(), "pip", "install", "-q", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
            command += ["--python-version", python, "--python-platform", platform, "--target", str(target)]
            command += ["--link-mode", "copy", "-r", str(wanted)]
            _run(command, "Python packages could not be installed")
            _compile(target, progress)
            entries, content = oci.tree(target, SITE.strip("/"), skip=("tests", "test"))
            oci.layer([*_parents(SITE + "/x"), *entries], content, path)

    return cached("site", site_key(), make)


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else shutil.which("uv") or "uv"


def _compile(folder: Path, progress: Progress) -> None:
    """Compile to bytecode that does not depend on time stamps or on where it was compiled.

    Another Python than the image's own would make bytecode that the image cannot read.
    """
    options = ["-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", "-p", SITE, "-s"]
    if sys.version_info[:2] == IMAGE_PYTHON:
        _compiled([sys.executable, *options, str(folder), str(folder)])
        return
    with tempfile.TemporaryDirectory(prefix="loft-root-") as root:
        _run(["tar", "-C", root, "-xf", str(base(progress))], "the base system could not be unpacked")
        inside = Path(root) / "compile"
        shutil.copytree(folder, inside, symlinks=True)
        _compiled(["chroot", root, "python3", *options, "/compile", "/compile"])
        shutil.copytree(inside, folder, symlinks=True, dirs_exist_ok=True)


def _compiled(command: list[str]) -> None:
    # Exit code 1 says that some file is no valid Python: packages carry such files on purpose (templates).
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    result = subprocess.run(command, capture_output=True, timeout=600, check=False, env=environment)
    if result.returncode not in (0, 1):
        raise ImageError(f"compiling failed: {result.stderr.decode(errors='replace').strip()[-500:]}")


# Tools and our own source


def tools_key() -> str:
    """Return the digest over what `tools` is made of."""
    return sha("tools-1", source_digest("helm"))


def tools() -> Path:
    """Return the layer with helm."""

    def make(path: Path) -> None:
        name = "usr/local/bin/helm"
        entries = [*_parents("/" + name), oci.file(name, 0o755)]
        oci.layer(entries, {name: find("helm")}, path)

    return cached("tools", tools_key(), make)


def _charts() -> Path:
    for place in (PACKAGE / "_charts", PACKAGE.parent.parent / "charts"):
        if place.is_dir():
            return place
    raise ImageError("the charts are missing beside the package")


class Source:
    """Our package and charts as they are at one moment: what is digested is what is packed."""

    def __init__(self) -> None:
        self._files: list[tuple[str, bytes]] = []
        for root, prefix in ((PACKAGE, "loft"), (_charts(), "loft/_charts")):
            for path in sorted(root.rglob("*")):
                inside = path.relative_to(root)
                if path.is_file() and "__pycache__" not in inside.parts and inside.parts[:2] != ("embedded", "build"):
                    self._files.append((f"{prefix}/{inside}", path.read_bytes()))

    def key(self) -> str:
        """Return the digest over every file."""
        digest = hashlib.sha256(b"source-2")
        for name, data in self._files:
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
        return digest.hexdigest()[:20]

    def layer(self, progress: Progress) -> Path:
        """Return the layer, compiled."""

        def make(path: Path) -> None:
            with tempfile.TemporaryDirectory(prefix="loft-source-") as temporary:
                for name, data in self._files:
                    target = Path(temporary) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
                _compile(Path(temporary), progress)
                entries, content = oci.tree(Path(temporary), SITE.strip("/"))
                oci.layer(entries, content, path)

        return cached("source", self.key(), make)
