"""Where a snapshot is: a file here, or one in a volume of the host cluster (`pvc://CLAIM/FILE`). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from loft.cli import exitcode
from loft.cli.failure import Failure

_CLAIM = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class Place:
    """A file, in a PersistentVolumeClaim when `claim` is not empty."""

    claim: str
    path: str


def parse(text: str) -> Place:
    """Read what was given for --to or --from. Raises: Failure USAGE."""
    scheme, found, rest = text.partition("://")
    if not found:
        if not text:
            raise Failure("give a file, or pvc://CLAIM/FILE", exitcode.USAGE)
        return Place("", text)
    claim, _, path = rest.partition("/")
    if scheme != "pvc":
        raise Failure(f"{scheme}:// is not supported; give a file, or pvc://CLAIM/FILE", exitcode.USAGE)
    if not _CLAIM.fullmatch(claim) or not _FILE.fullmatch(path) or len(path) > 255:
        raise Failure(f"{text!r} is no place in a volume; it looks like pvc://CLAIM/FILE", exitcode.USAGE)
    return Place(claim, path)
