"""Access keys: how a key is made, recognised and hashed.

A key is 384 random bits, so a plain SHA-256 is enough to store it: nobody can guess it, and the look-up by
hash is the comparison (no timing of ours depends on how much of a key is right).
"""

from __future__ import annotations

import base64
import hashlib
import re

KEY_BYTES = 48
"""Random bytes in a key; they encode to 64 url-safe characters without padding."""

BEARER_LENGTH_MAX = 8192
"""Longest credential that is looked at; ServiceAccount tokens are about 1 KiB."""

# b64token of RFC 6750 section 2.1: all that may follow the word Bearer.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def new_key(random: bytes) -> str:
    """Return a key made of exactly KEY_BYTES random bytes, 64 url-safe characters.

    Raises: ValueError when there are more or fewer bytes: a short key would be guessable.
    """
    if len(random) != KEY_BYTES:
        raise ValueError(f"a key needs {KEY_BYTES} random bytes, not {len(random)}")
    return base64.urlsafe_b64encode(random).decode()


def key_hash(key: str) -> str:
    """Return what is stored of a key: its SHA-256 as 64 lower-case hex digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_well_formed(bearer: str) -> bool:
    """Tell whether a credential has the form of a bearer token; others are refused without a look-up."""
    return 0 < len(bearer) <= BEARER_LENGTH_MAX and _TOKEN.fullmatch(bearer) is not None
