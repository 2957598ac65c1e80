"""Image layers of given files, for the images that only tests run."""

from __future__ import annotations

from pathlib import Path

from loft.embedded import layers, oci
from loft.embedded.layers import sha


def files(name: str, inputs: str, content: dict[str, bytes | Path], mode: int = 0o644) -> Path:
    """Return a layer with files, from the cache or made now.

    Args:
        name: how the layer is called in the cache.
        inputs: digest over what the files given by a path are made of.
        content: by paths without a leading slash.
        mode: of every file.
    """

    def make(path: Path) -> None:
        parents = {str(parent) for file in content for parent in Path(file).parents if str(parent) != "."}
        entries = [oci.folder(parent) for parent in sorted(parents)]
        entries += [oci.file(file, mode) for file in content]
        oci.layer(entries, content, path)

    key = sha(name, inputs, *[f"{file}:{data!r}" for file, data in sorted(content.items())], oct(mode))
    return layers.cached(name, key, make)
