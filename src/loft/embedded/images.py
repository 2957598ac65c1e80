"""The images of the platform: made of what, built when an input changed, imported where missing.

An image is named by a digest over its inputs, so nothing is built or imported twice. Layers that change
rarely come first; our own source is the last and smallest one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

import loft
from loft.embedded import oci
from loft.embedded.binaries import KUBERNETES_LINKS, Progress, find, source_digest
from loft.embedded.layout import KUBERNETES_VERSION, Layout, cache_root
from loft.embedded.oci import ImageConfig

USER = "65532"
PACKAGE = Path(loft.__file__).parent
DEBIAN_SUITE = "bookworm"
SITE = "/usr/local/lib/python3.11/dist-packages"
DEMO_APPLETS = ("httpd", "ifconfig", "ip", "nc", "netstat", "nslookup", "ping", "ps", "route", "top", "vi", "wget")


class ImageError(Exception):
    """An image could not be built or imported; the message says why."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image: its name, a digest over its inputs, and how its layers are made."""

    reference: str
    inputs: Callable[[], str]
    layers: Callable[[Progress], list[Path]]
    config: ImageConfig

    def archive(self) -> Path:
        """Return the file in the cache that holds the image when it is built."""
        name = self.reference.rpartition("/")[2].partition(":")[0]
        return cache_root() / "images" / f"{name}-{_sha(self.reference, self.inputs(), repr(self.config))}.tar"


def _sha(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def catalogue() -> list[Image]:
    """Return every image of the platform."""
    return [
        Image(
            reference="loft.sh/pause:1",
            inputs=lambda: source_digest("pause"),
            layers=lambda _: [_binary_layer("pause", "/pause")],
            config=ImageConfig(entrypoint=("/pause",), user=USER),
        ),
        Image(
            reference="loft.sh/demo:1",
            inputs=lambda: _sha(_base_key(), _demo_key()),
            layers=lambda progress: [_base(progress), _demo()],
            config=ImageConfig(command=("sh",)),
        ),
        Image(
            reference="loft.sh/coredns:v1.15.0",
            inputs=lambda: source_digest("coredns"),
            layers=lambda _: [_binary_layer("coredns", "/coredns")],
            config=ImageConfig(entrypoint=("/coredns",), user=USER),
        ),
        Image(
            reference="loft.sh/metrics-server:v0.9.0",
            inputs=lambda: source_digest("metrics-server"),
            layers=lambda _: [_binary_layer("metrics-server", "/metrics-server")],
            config=ImageConfig(entrypoint=("/metrics-server",), user=USER),
        ),
        Image(
            reference=f"loft.sh/kubernetes:{KUBERNETES_VERSION}",
            inputs=lambda: source_digest("kubernetes"),
            layers=lambda _: [_binary_layer("kubernetes", "/usr/local/bin/kubernetes", KUBERNETES_LINKS)],
            config=ImageConfig(user=USER),
        ),
        Image(
            reference=f"loft.sh/loft:{loft.__version__}",
            inputs=lambda: _sha(_base_key(), _site_key(), _tools_key(), _source_key()),
            layers=lambda progress: [_base(progress), _site(progress), _tools(), _source()],
            config=ImageConfig(
                entrypoint=("python3", "-m"), user=USER, env=("PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
            ),
        ),
    ]


class Built(msgspec.Struct, frozen=True):
    """An image that lies in the cache."""

    reference: str
    archive: Path


def ensure_images(progress: Progress) -> list[Built]:
    """Build what is missing and return all images; fast when nothing changed. Raises: ImageError."""
    (cache_root() / "images").mkdir(parents=True, exist_ok=True)
    built = []
    for image in catalogue():
        archive = image.archive()
        if not archive.exists():
            progress(f"building image {image.reference}")
            oci.write_image(archive, image.reference, image.layers(progress), image.config)
            _forget_older(archive)
        built.append(Built(image.reference, archive))
    return built


def _forget_older(path: Path) -> None:
    """Remove earlier builds of the same image or layer; nothing refers to them any more."""
    prefix = path.name.rpartition("-")[0]
    for other in path.parent.glob(f"{prefix}-*.tar"):
        if other != path and other.name.rpartition("-")[0] == prefix:
            other.unlink(missing_ok=True)


def import_images(layout: Layout, built: list[Built], progress: Progress) -> None:
    """Import the images that the cluster's containerd does not have yet. Raises: ImageError."""
    marks = layout.directory / "imported"
    marks.mkdir(exist_ok=True)
    for image in built:
        archive = image.archive
        mark = marks / archive.name
        if mark.exists():
            continue
        progress(f"importing image {image.reference}")
        command = ["ctr", "--address", str(layout.containerd_address), "-n", "k8s.io", "images", "import", str(archive)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if result.returncode:
            raise ImageError(f"{image.reference} could not be imported: {result.stderr.strip()[-500:]}")
        for old in marks.glob(archive.name.rpartition("-")[0] + "-*"):
            old.unlink()
        mark.touch()


# Layers


def _cached(name: str, key: str, make: Callable[[Path], None]) -> Path:
    path = cache_root() / "images" / f"layer-{name}-{key}.tar"
    if not path.exists():
        temporary = path.with_name(f".{path.name}.new")
        make(temporary)
        temporary.rename(path)
        _forget_older(path)
    return path


def _parents(*paths: str) -> list[tarfile.TarInfo]:
    found: dict[str, None] = {}
    for path in paths:
        for parent in list(reversed(Path(path).parents))[1:]:
            found.setdefault(str(parent).strip("/"))
    return [oci.folder(name) for name in found]


def _binary_layer(program: str, target: str, links: tuple[str, ...] = ()) -> Path:
    def make(path: Path) -> None:
        name = target.strip("/")
        entries = [*_parents(target), oci.folder("tmp", 0o1777), oci.file(name, 0o755)]
        entries += [oci.link(f"{name.rpartition('/')[0]}/{other}", name.rpartition("/")[2]) for other in links]
        oci.layer(entries, {name: find(program)}, path)

    return _cached(program, source_digest(program)[:16], make)


def _demo_key() -> str:
    return _sha("demo-3", *DEMO_APPLETS)


def _demo() -> Path:
    """Links for what Debian's minimal system lacks, and a page to serve."""

    def make(path: Path) -> None:
        entries = [*_parents("/usr/local/bin/wget"), oci.folder("www"), oci.file("www/index.html")]
        entries += [oci.link(f"usr/local/bin/{name}", "/bin/busybox") for name in DEMO_APPLETS]
        oci.layer(entries, {"www/index.html": b"hello from a pod\n"}, path)

    return _cached("demo", _demo_key(), make)


def _base_key() -> str:
    return _sha("base-2", DEBIAN_SUITE)


def _base(progress: Progress) -> Path:
    """Debian with Python and nothing else: the smallest system that the platform's wheels run on."""

    def make(path: Path) -> None:
        progress("building the base system of the image (about 20 s, once)")
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--include=python3-minimal,python3,libpython3-stdlib,ca-certificates,busybox",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/i18n/*",
            "--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/* $1/var/log/*",
            "--mode=root",
            "--format=tar",
            DEBIAN_SUITE,
            str(path),
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if result.returncode:
            raise ImageError(f"mmdebstrap failed: {result.stderr.strip()[-800:]}")

    return _cached("base", _base_key(), make)


def _lock_file() -> Path:
    for place in (PACKAGE / "_requirements.lock", PACKAGE.parent.parent / "requirements.lock"):
        if place.exists():
            return place
    raise ImageError("requirements.lock is missing beside the package")


def _site_key() -> str:
    return _sha("site-2", _lock_file().read_text())


DEVELOPMENT_ONLY = [
    "hypothesis",
    "import-linter",
    "grimp",
    "mypy",
    "mypy-extensions",
    "pytest",
    "pytest-timeout",
    "ruff",
    "trustme",
    "types-pyyaml",
    "iniconfig",
    "pluggy",
    "pathspec",
    "sortedcontainers",
    "librt",
    "rich",
    "markdown-it-py",
    "mdurl",
    "pygments",
    "fastapi",
    "ast-serialize",
]


def _site(progress: Progress) -> Path:
    """The locked Python packages for Debian's Python 3.11, compiled, without what only development needs."""

    def make(path: Path) -> None:
        progress("installing Python packages into the image")
        with tempfile.TemporaryDirectory(prefix="loft-site-") as temporary:
            wanted = Path(temporary) / "requirements"
            wanted.write_text(_without(_lock_file().read_text(), DEVELOPMENT_ONLY))
            target = Path(temporary) / "site"
            command = [str(Path(sys.executable).parent / "uv"), "pip", "install", "-q", "--require-hashes", "--no-deps"]
            command += [
                "--python-version",
                "3.11",
                "--python-platform",
                f"{os.uname().machine}-manylinux_2_36",
                "--only-binary",
                ":all:",
            ]
            command += ["--target", str(target), "--link-mode", "copy", "-r", str(wanted)]
            result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
            if result.returncode:
                raise ImageError(f"Python packages could not be installed: {result.stderr.strip()[-800:]}")
            _compile(target)
            entries, content = oci.tree(target, SITE.strip("/"), skip=("tests", "test"))
            oci.layer([*_parents(SITE + "/x"), *entries], content, path)

    return _cached("site", _site_key(), make)


def _without(lock: str, names: list[str]) -> str:
    """Return a lock file without some packages (an entry is a line and its continued hash lines)."""
    kept, keep = [], True
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            keep = line.partition("==")[0].partition("[")[0].strip() not in names
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _compile(folder: Path) -> None:
    """Compile to bytecode that does not depend on time stamps: the file system of a container is read-only."""
    command = [
        sys.executable,
        "-m",
        "compileall",
        "-q",
        "-j",
        "2",
        "--invalidation-mode",
        "unchecked-hash",
        str(folder),
    ]
    subprocess.run(command, capture_output=True, timeout=600, check=False)


def _tools_key() -> str:
    return _sha("tools-1", source_digest("helm"))


def _tools() -> Path:
    def make(path: Path) -> None:
        name = "usr/local/bin/helm"
        entries = [*_parents("/" + name), oci.file(name, 0o755)]
        oci.layer(entries, {name: find("helm")}, path)

    return _cached("tools", _tools_key(), make)


def _charts() -> Path:
    for place in (PACKAGE / "_charts", PACKAGE.parent.parent / "charts"):
        if place.is_dir():
            return place
    raise ImageError("the charts are missing beside the package")


def _source_files() -> list[tuple[str, Path]]:
    found = []
    for root, prefix in ((PACKAGE, "loft"), (_charts(), "loft/_charts")):
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and "__pycache__" not in inside.parts and inside.parts[:2] != ("embedded", "build"):
                found.append((f"{prefix}/{inside}", path))
    return found


def _source_key() -> str:
    digest = hashlib.sha256()
    for name, path in _source_files():
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:20]


def _source() -> Path:
    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="loft-source-") as temporary:
            for name, source in _source_files():
                target = Path(temporary) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
            _compile(Path(temporary))
            entries, content = oci.tree(Path(temporary), SITE.strip("/"))
            oci.layer(entries, content, path)

    return _cached("source", _source_key(), make)
