"""Official downloads, pinned by checksum: taken where they can be reached, never trusted without the checksum.

Whatever goes wrong here only means that the program is built instead; so a machine without the internet loses
three seconds, and one with a lying proxy nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import shutil
import tarfile
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

import msgspec

REACH_S = 3.0
"""How long it is tried to reach a server (name, connection, redirects and the beginning of the answer together)."""
READ_S = 30.0
"""How long nothing may come."""
DOWNLOAD_S = 900.0
SIZE_BYTES_MAX = 1 << 30
CHUNK = 1 << 20
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a build would meet as well."""


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One download; `member` is the program's path in the archive."""

    version: str
    url: str
    sha256: str
    member: str


class NotTaken(Exception):
    """The download was not taken; the message says why."""


def pin_of(text: str, name: str, version: str, machine: str) -> Pin | None:
    """Return the pin of a program for a machine (`uname -m`), None when there is none for this very version.

    Args:
        text: content of pins.toml.
        name: the program.
        version: its version.
        machine: what `uname -m` says.
    """
    found = tomllib.loads(text).get(name, {}).get(machine)
    pin = msgspec.convert(found, Pin) if found else None
    return pin if pin is not None and pin.version == version else None


def fetch(pin: Pin, target: Path) -> None:
    """Download, verify, and write the program to `target`. Raises: NotTaken, OSError when the disk is full."""
    try:
        with tempfile.TemporaryFile(dir=target.parent) as archive:
            with _open(pin.url) as answer:
                digest = _copy(answer, archive)
            if digest != pin.sha256:
                raise NotTaken(f"{pin.url} is not what was pinned: its SHA-256 is {digest}")
            archive.seek(0)
            _extract(archive, pin.member, target)
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise NotTaken(f"{pin.url} cannot be downloaded: {error}") from error


def _open(url: str) -> IO[bytes]:
    """Open a URL within `REACH_S`; looking a name up has no time-out of its own, so it is left to a thread."""
    result: list[IO[bytes] | Exception] = []
    abandoned = threading.Event()

    def connect() -> None:
        try:
            answer = urllib.request.urlopen(url, timeout=READ_S)
        except urllib.error.HTTPError as error:
            error.close()
            result.append(error)
            return
        except Exception as error:
            result.append(error)
            return
        if abandoned.is_set():
            answer.close()
        result.append(answer)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(REACH_S)
    if not result:
        abandoned.set()
        raise NotTaken(f"{url} cannot be reached within {REACH_S:.0f} s")
    if isinstance(result[0], Exception):
        raise NotTaken(f"{url} cannot be reached: {result[0]}")
    return result[0]


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy all and return its SHA-256; bounded in size and time. Raises: NotTaken."""
    digest, size, deadline = hashlib.sha256(), 0, time.monotonic() + DOWNLOAD_S
    while chunk := source.read(CHUNK):
        size += len(chunk)
        if size > SIZE_BYTES_MAX or time.monotonic() > deadline:
            raise NotTaken(f"the download is too large or too slow ({size >> 20} MiB)")
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


def _extract(archive: IO[bytes], member: str, target: Path) -> None:
    with tarfile.open(fileobj=archive, mode="r:gz") as opened:
        try:
            found = opened.getmember(member)
        except KeyError:
            raise NotTaken(f"the download holds no {member}") from None
        content = opened.extractfile(found) if found.isreg() else None
        if content is None:
            raise NotTaken(f"{member} in the download is no file")
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
    target.chmod(0o755)
