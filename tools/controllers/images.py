"""The images in which the controllers run: Debian with one program, and the Envoy that the gateway has, too."""

from __future__ import annotations

from pathlib import Path

from tools.filelayers import files

from loft.embedded import images, layers
from loft.embedded.binaries import Progress
from loft.embedded.images import Image
from loft.embedded.layers import sha
from loft.embedded.layout import Layout
from loft.embedded.oci import ImageConfig
from loft.gateway.process import envoy_binary

from . import programs

CONTOUR, ENVOY = "loft.sh/e2e/contour:1", "loft.sh/e2e/envoy:1"
CERT_MANAGER = ("controller", "webhook", "cainjector")
_USER = "65532"


def cert_manager(process: str) -> str:
    """Return the name without tag of the image of one of cert-manager's processes; the tag is `v1`."""
    return f"loft.sh/e2e/cert-manager-{process}"


def catalogue(name: str) -> list[Image]:
    """Return the images of a built program."""
    if name == "contour":
        path = envoy_binary()
        key = f"{path.stat().st_size}"
        envoy = _image(ENVOY, key, "usr/local/bin/envoy", path, ("/usr/local/bin/envoy",))
        # Its manifests call the program by name and as /bin/contour; /bin is a link in Debian.
        place = "usr/bin/contour"
        return [_image(CONTOUR, programs.digest(name), place, programs.program(name), (f"/{place}",)), envoy]
    place = "usr/local/bin/cert-manager"
    return [
        _image(
            f"{cert_manager(process)}:v1", programs.digest(name), place, programs.program(name), (f"/{place}", process)
        )
        for process in CERT_MANAGER
    ]


def _image(reference: str, key: str, place: str, program: Path, entrypoint: tuple[str, ...]) -> Image:
    layer = place.rpartition("/")[2]
    return Image(
        reference=reference,
        inputs=sha(layers.base_key(), key),
        layers=lambda progress: [layers.base(progress), files(f"e2e-{layer}", key, {place: program}, 0o755)],
        config=ImageConfig(entrypoint=entrypoint, user=_USER),
    )


def ensure(name: str, layout: Layout, progress: Progress) -> None:
    """Build a program's images if they are missing and import them. Raises: BuildError, ImageError."""
    programs.ensure(name, progress)
    images.import_images(layout, images.ensure_images(progress, catalogue(name)), progress)
