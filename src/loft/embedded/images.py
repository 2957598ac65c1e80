"""The images of the platform: made of what, built when an input changed, imported where missing.

An image is named by a digest over its inputs, so nothing is built twice; whether it must be imported is asked
of the cluster's containerd, by the digest of its manifest. Layers that change rarely come first; our own source
is the last and smallest one.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

import loft
from loft.embedded import layers, oci
from loft.embedded.binaries import KUBERNETES_LINKS, Progress, find_kubernetes, source_digest
from loft.embedded.layers import ImageError
from loft.embedded.layout import KUBERNETES_VERSION, Layout, cache_root
from loft.embedded.oci import ImageConfig

__all__ = ["Built", "Image", "ImageError", "catalogue", "ensure_images", "import_images", "kubernetes_image"]

USER = "65532"
KEPT = 2
"""Builds of each image that stay in the cache: the newest, and the one before that another checkout may use."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image: its name, a digest over its inputs, and how its layers are made."""

    reference: str
    inputs: str
    layers: Callable[[Progress], list[Path]]
    config: ImageConfig
    variant: str = ""
    """Tells images apart that differ in their tag only and are kept side by side."""

    @property
    def name(self) -> str:
        """The last part of the reference, without tag but for variants."""
        return self.reference.rpartition("/")[2].partition(":")[0] + (f"-{self.variant}" if self.variant else "")

    def archive(self) -> Path:
        """Return the file in the cache that holds the image when it is built."""
        key = layers.sha(self.reference, self.inputs, repr(self.config))
        return cache_root() / "images" / f"{self.name}-{key}.tar"


class Built(msgspec.Struct, frozen=True):
    """An image that lies in the cache."""

    reference: str
    archive: Path


def catalogue() -> list[Image]:
    """Return every image of the platform."""
    source = layers.Source()
    return [
        _of_program("pause", "1", "/pause"),
        Image(
            reference="loft.sh/demo:1",
            inputs=layers.sha(layers.base_key(), layers.demo_key()),
            layers=lambda progress: [layers.base(progress), layers.demo()],
            config=ImageConfig(command=("sh",)),
        ),
        _of_program("coredns", "v1.15.0", "/coredns"),
        _of_program("metrics-server", "v0.9.0", "/metrics-server"),
        kubernetes_image(KUBERNETES_VERSION),
        Image(
            reference=f"loft.sh/loft:{loft.__version__}",
            inputs=layers.sha(layers.base_key(), layers.site_key(), layers.tools_key(), source.key()),
            layers=lambda progress: [
                layers.base(progress),
                layers.site(progress),
                layers.tools(),
                source.layer(progress),
            ],
            config=ImageConfig(
                entrypoint=("python3", "-m"), user=USER, env=("PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
            ),
        ),
    ]


def kubernetes_image(version: str) -> Image:
    """Return the image of a control plane's components. Raises: BuildError for a version that cannot be built."""
    key = find_kubernetes(version)
    return Image(
        reference=f"loft.sh/kubernetes:{version}",
        inputs=source_digest(key),
        layers=lambda _: [layers.binary(key, "/usr/local/bin/kubernetes", KUBERNETES_LINKS)],
        config=ImageConfig(user=USER),
        variant="" if version == KUBERNETES_VERSION else version,
    )


def _of_program(name: str, tag: str, path: str) -> Image:
    return Image(
        reference=f"loft.sh/{name}:{tag}",
        inputs=source_digest(name),
        layers=lambda _: [layers.binary(name, path)],
        config=ImageConfig(entrypoint=(path,), user=USER),
    )


def ensure_images(progress: Progress, images: list[Image] | None = None) -> list[Built]:
    """Build what is missing and return the images (all by default); fast when nothing changed. Raises: ImageError."""
    images = catalogue() if images is None else images
    if not all(image.archive().exists() for image in images):
        folder = cache_root() / "images"
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock", progress):
            for image in images:
                if not image.archive().exists():
                    progress(f"building image {image.reference}")
                    oci.write_image(image.archive(), image.reference, image.layers(progress), image.config)
            _prune(folder, images)
    return [Built(image.reference, image.archive()) for image in images]


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("images are being built already; waiting for that")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _prune(folder: Path, images: list[Image]) -> None:
    """Remove older builds, and what an interrupted one left; only while the lock is held."""
    current = {image.archive() for image in images}
    names = [image.name for image in images]
    names += [f"layer-{name}" for name in (*names, "base", "site", "tools", "source")]
    for name in names:
        length = len(f"{name}-") + len(layers.sha("")) + len(".tar")
        found = [path for path in folder.glob(f"{name}-*.tar") if len(path.name) == length]
        found.sort(key=lambda path: (path in current, path.stat().st_mtime), reverse=True)
        for path in found[KEPT:]:
            path.unlink(missing_ok=True)
    for path in folder.glob(".*.new"):
        path.unlink(missing_ok=True)


def import_images(layout: Layout, built: list[Built], progress: Progress) -> None:
    """Import the images that the cluster's containerd does not have yet, or not whole. Raises: ImageError."""
    for image in _missing(layout, built):
        progress(f"importing image {image.reference}")
        _import_part(layout, image.archive)
    for image in _missing(layout, built):
        _ctr(layout, "images", "import", str(image.archive))
    if missing := _missing(layout, built):
        raise ImageError(f"containerd has not got {missing[0].reference} after its import; see its log")


def _import_part(layout: Layout, archive: Path) -> None:
    """Import one image without the layers that containerd has from another image or from the build before.

    What it has may be collected meanwhile when nothing uses it; the caller looks afterwards.
    """
    blobs = set(_ctr(layout, "content", "ls", "-q").split())
    with tempfile.TemporaryDirectory(prefix="loft-import-", dir=cache_root()) as folder:
        part = Path(folder) / "part.tar"
        oci.without_blobs(archive, blobs, part)
        _ctr(layout, "images", "import", str(part))


def _missing(layout: Layout, built: list[Built]) -> list[Built]:
    present = ready_images(_ctr(layout, "images", "check"))
    return [image for image in built if present.get(image.reference) != manifest_digest(image.archive)]


def ready_images(table: str) -> dict[str, str]:
    """Return the manifest digest of each image that is whole and unpacked, by its name.

    Args:
        table: what `ctr images check` prints: REF TYPE DIGEST STATUS SIZE UNPACKED.
    """
    rows = [line.split() for line in table.splitlines()[1:]]
    return {words[0]: words[2] for words in rows if len(words) > 4 and words[3] == "complete" and words[-1] == "true"}


def manifest_digest(archive: Path) -> str:
    """Return the digest by which containerd knows the image of an archive."""
    try:
        with tarfile.open(archive) as opened:
            index = opened.extractfile("index.json")
            assert index is not None, "every archive of ours has an index"
            return str(json.loads(index.read())["manifests"][0]["digest"])
    except (OSError, tarfile.TarError, KeyError) as error:
        raise ImageError(f"{archive} cannot be read ({error}); remove it and start again") from error


def _ctr(layout: Layout, *words: str) -> str:
    command = ["ctr", "--address", str(layout.containerd_address), "-n", "k8s.io", *words]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"containerd does not take images: {error}") from error
    if result.returncode:
        raise ImageError(f"ctr {' '.join(words[:2])} failed: {result.stderr.strip()[-500:]}")
    return result.stdout
