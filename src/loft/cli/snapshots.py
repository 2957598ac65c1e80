"""The file of a snapshot: a tar archive with the store as etcd gives it, and beside it what a restore has to know.

`snapshot.db` is what every etcd tool restores; its last 32 bytes are the SHA-256 of the rest. `metadata.json` says
which virtual cluster and which version of Kubernetes it was. The store comes as a stream of unknown length, so its
header is written last, into the space that was left for it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from loft.cli.failure import Failure, one_line

STORE, METADATA = "snapshot.db", "metadata.json"
BLOCK = tarfile.BLOCKSIZE
DIGEST_BYTES = 32
CHUNK_BYTES = 1 << 20
METADATA_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Metadata:
    """What the store is of."""

    name: str
    namespace: str
    version: str
    """Of Kubernetes; only this minor version or the next can read the store."""
    taken: str
    """RFC 3339."""


@dataclass(frozen=True)
class Snapshot:
    """A whole snapshot that was looked at."""

    metadata: Metadata
    size: int
    """Of the store, in bytes."""
    offset: int
    """Where in the file the store begins."""


@contextmanager
def writing(path: Path, metadata: Metadata) -> Iterator[IO[bytes]]:
    """Give a file to write the store to; the snapshot appears at `path` when it is whole, else nothing stays.

    Raises: Failure.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(bytes(BLOCK))
            yield file
            size = file.seek(0, os.SEEK_END) - BLOCK
            file.write(bytes(-size % BLOCK))
            text = json.dumps(asdict(metadata), indent=1).encode()
            file.write(_header(METADATA, len(text)) + text + bytes(-len(text) % BLOCK) + bytes(2 * BLOCK))
            file.seek(0)
            file.write(_header(STORE, size))
            file.flush()
            os.fsync(file.fileno())
        inspect(temporary)
        temporary.rename(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {one_line(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def inspect(path: Path) -> Snapshot:
    """Read a snapshot through and return what it is. Raises: Failure when it is none, or not whole."""
    try:
        with tarfile.open(path, "r:") as archive:
            store, described = archive.getmember(STORE), archive.extractfile(METADATA)
            text = described.read(METADATA_BYTES_MAX) if described is not None else b""
        metadata = Metadata(**json.loads(text))
        if not all(isinstance(value, str) for value in asdict(metadata).values()):
            raise ValueError("its metadata is not text")
        _verify(path, store.offset_data, store.size)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {one_line(error)}") from error
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise Failure(f"{path} is no whole snapshot of a virtual cluster: {one_line(error)}") from error
    return Snapshot(metadata, store.size, store.offset_data)


def now() -> str:
    """Return the present time as it is written into snapshots."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def part(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield the next `size` bytes of a file. Raises: ValueError when it ends before."""
    while size:
        chunk = file.read(min(size, CHUNK_BYTES))
        if not chunk:
            raise ValueError("it ends too early")
        size -= len(chunk)
        yield chunk


def _verify(path: Path, offset: int, size: int) -> None:
    if size <= DIGEST_BYTES:
        raise ValueError("the store is empty")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(offset)
        for chunk in part(file, size - DIGEST_BYTES):
            digest.update(chunk)
        if file.read(DIGEST_BYTES) != digest.digest():
            raise ValueError("the checksum of the store is wrong")


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    # GNU headers hold sizes of more than 8 GiB in one block.
    found = info.tobuf(tarfile.GNU_FORMAT)
    return io.BytesIO(found).read(BLOCK)
