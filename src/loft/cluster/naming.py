"""Which names a space may have. Pure."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
NAME_LENGTH_MAX = 63
RESERVED = ("default", "loft")
RESERVED_PREFIXES = ("kube-", "loft-")


def why_not(name: str) -> str:
    """Return what is wrong with a name for a space, "" when nothing is."""
    if len(name) > NAME_LENGTH_MAX or not _LABEL.fullmatch(name):
        return f"use at most {NAME_LENGTH_MAX} characters a-z, 0-9 and -, beginning and ending with a letter or digit"
    if name in RESERVED or name.startswith(RESERVED_PREFIXES):
        return f"{name!r} is kept for the system (as are names that begin with kube- or loft-); choose another name"
    return ""
