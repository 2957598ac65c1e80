"""Container images as OCI layouts in one tar file, written by hand: a layer is a tar file, the rest is JSON.

Deterministic: the same inputs give the same bytes, so an image is known by the digest of what went in.
Source: OCI image-spec 1.1 (image layout, manifest, config).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

MEDIA_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_LAYER = "application/vnd.oci.image.layer.v1.tar"
MEDIA_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EPOCH = 1_700_000_000
"""Time stamp of every file: image content must not depend on when it was built."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How containers of the image start."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Sequence[str] = ()
    user: str = ""
    workdir: str = "/"


def layer(entries: Iterable[tarfile.TarInfo], content: Mapping[str, Path | bytes], target: Path) -> None:
    """Write one layer.

    Args:
        entries: members in order; regular files are filled from `content` by name.
        content: bytes or a file for each regular member.
        target: the tar file to write.
    """
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            entry.mtime = EPOCH
            entry.uname = entry.gname = ""
            if not entry.isreg():
                archive.addfile(entry)
                continue
            data = content[entry.name]
            if isinstance(data, bytes):
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
            else:
                entry.size = data.stat().st_size
                with data.open("rb") as file:
                    archive.addfile(entry, file)


def folder(name: str, mode: int = 0o755, uid: int = 0) -> tarfile.TarInfo:
    """Return a directory member."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, uid, uid
    return info


def link(name: str, to: str) -> tarfile.TarInfo:
    """Return a symbolic link member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, to, 0o777
    return info


def file(name: str, mode: int = 0o644) -> tarfile.TarInfo:
    """Return a regular member; its content is given to `layer`."""
    info = tarfile.TarInfo(name)
    info.mode = mode
    return info


def tree(root: Path, prefix: str, *, skip: Sequence[str] = ()) -> tuple[list[tarfile.TarInfo], dict[str, Path | bytes]]:
    """Return members and content for a directory on this machine, placed below `prefix` in the image."""
    entries: list[tarfile.TarInfo] = []
    content: dict[str, Path | bytes] = {}
    for here, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in skip)
        place = Path(here)
        inside = f"{prefix}/{place.relative_to(root)}".removesuffix("/.")
        entries.append(folder(inside))
        for name in sorted(names):
            path = place / name
            if path.is_symlink():
                entries.append(link(f"{inside}/{name}", os.readlink(path)))
            else:
                entries.append(file(f"{inside}/{name}", path.stat().st_mode & 0o755 | 0o044))
                content[f"{inside}/{name}"] = path
    return entries, content


def write_image(target: Path, reference: str, layers: Sequence[Path], config: ImageConfig) -> None:
    """Write an OCI layout as one tar file which `ctr images import` takes; the file appears atomically."""
    digests = [_digest_file(path) for path in layers]
    document = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {
            "Entrypoint": list(config.entrypoint),
            "Cmd": list(config.command),
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *config.env],
            "User": config.user,
            "WorkingDir": config.workdir,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    blobs: list[tuple[str, Path | bytes]] = list(zip(digests, layers, strict=True))
    config_blob = _json(document)
    manifest_blob = _json(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "config": _descriptor(MEDIA_CONFIG, config_blob),
            "layers": [
                {"mediaType": MEDIA_LAYER, "digest": f"sha256:{digest}", "size": path.stat().st_size}
                for digest, path in zip(digests, layers, strict=True)
            ],
        }
    )
    blobs += [(_digest(config_blob), config_blob), (_digest(manifest_blob), manifest_blob)]
    named = _descriptor(MEDIA_MANIFEST, manifest_blob) | {
        "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    }
    entries = [file("oci-layout"), file("index.json")]
    content: dict[str, Path | bytes] = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [named]}),
    }
    for digest, data in dict(blobs).items():
        entries.append(file(f"blobs/sha256/{digest}"))
        content[f"blobs/sha256/{digest}"] = data
    temporary = target.with_name(f".{target.name}.new")
    layer(entries, content, temporary)
    temporary.rename(target)


def without_blobs(archive: Path, present: Container[str], target: Path) -> None:
    """Copy an image's archive, leaving out the blobs that the receiver has already.

    Args:
        archive: made by `write_image`.
        present: digests (`sha256:…`) that the receiver has.
        target: the smaller archive; not made atomically.
    """
    with tarfile.open(archive) as whole, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as part:
        for member in whole:
            folder_name, _, digest = member.name.rpartition("/")
            if folder_name != "blobs/sha256" or f"sha256:{digest}" not in present:
                part.addfile(member, whole.extractfile(member))


def _descriptor(media: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media, "digest": f"sha256:{_digest(blob)}", "size": len(blob)}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
