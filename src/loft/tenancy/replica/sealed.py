"""The replica as it lies in the agent's Secret: compressed and encrypted, with the time of the lease apart. Pure.

AES-256-GCM (NIST SP 800-38D) under a key that lies in a Secret of its own: whoever gets hold of one of them, in a
backup or by a right to one name, has nothing. Both boxes name the cluster as associated data, and the lease names
the revision it is for, so neither can be swapped for one of another cluster or another time.

`heard` is the agent's wall clock when the centre was last there. It is written more often than the replica, which
may be large.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from loft.identity import replica as identity
from loft.identity.replica import Replica

KEY_BYTES = 32
NONCE_BYTES = 12
SIZE_MAX = 64 * 1024 * 1024
SEALED_MAX = 700 * 1024
"""A Secret holds 1 MiB; base64 adds a third."""
CLOCK_SKEW = timedelta(minutes=5)


class SealError(ValueError):
    """The boxes cannot be opened, or not be made; the message says why."""


class _Lease(msgspec.Struct, frozen=True):
    heard: datetime
    revision: str


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was in the boxes."""

    replica: Replica
    heard: datetime


def seal_replica(replica: Replica, cluster: str, key: bytes, nonce: bytes) -> bytes:
    """Return the box of a replica; `nonce` is NONCE_BYTES random bytes, never used twice with a key.

    Raises: SealError when it is too large for a Secret.
    """
    packed = zlib.compress(identity.encode(replica), 6)
    if len(packed) > SEALED_MAX:
        raise SealError(f"the replica of users and keys is too large for a Secret ({len(packed)} > {SEALED_MAX} bytes)")
    return nonce + AESGCM(key).encrypt(nonce, packed, _context("replica", cluster))


def seal_lease(heard: datetime, revision: str, cluster: str, key: bytes, nonce: bytes) -> bytes:
    """Return the box that says when the centre was last heard, and of which revision."""
    text = msgspec.json.encode(_Lease(heard, revision))
    return nonce + AESGCM(key).encrypt(nonce, text, _context("lease", cluster))


def open_boxes(replica: bytes, lease: bytes, cluster: str, key: bytes) -> Restored:
    """Return what both boxes hold. Raises: SealError."""
    try:
        told = msgspec.json.decode(_open(lease, "lease", cluster, key), type=_Lease)
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(_open(replica, "replica", cluster, key), SIZE_MAX)
        found = identity.decode(text)
    except (zlib.error, msgspec.DecodeError) as error:
        raise SealError(f"the stored replica cannot be read: {error}") from error
    if told.revision != found.revision:
        raise SealError("the stored lease is for another revision of the replica")
    return Restored(replica=found, heard=told.heard)


def why_not_usable(restored: Restored, now: datetime) -> str:
    """Return why a restored replica must not be decided by, "" when it may."""
    if restored.heard > now + CLOCK_SKEW:
        return "it comes from the future; compare this node's clock"
    if now >= restored.heard + timedelta(seconds=restored.replica.lease_s):
        return f"its lease of {restored.replica.lease_s} s has ended"
    return ""


def save_interval_s(lease_s: int) -> float:
    """Return how often the time is written: never so seldom that much of the lease is lost by a restart."""
    return min(60.0, max(2.0, lease_s / 20))


def _open(box: bytes, what: str, cluster: str, key: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], _context(what, cluster))
    except (InvalidTag, ValueError) as error:
        raise SealError(f"the stored {what} is damaged, or was sealed with another key") from error


def _context(what: str, cluster: str) -> bytes:
    return f"loft-agent-{what}:{cluster}".encode()
