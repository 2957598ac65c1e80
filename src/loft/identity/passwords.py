"""Passwords: hashed with argon2id, verified in the same time whether or not the user exists."""

from __future__ import annotations

import argon2

PASSWORD_LENGTH_MAX = 1024
"""In characters; longer input is refused, not cut: hashing it would be work for an attacker's sake."""

# RFC 9106 section 4, second recommended option: 64 MiB, three passes, four lanes.
_HASHER = argon2.PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4, hash_len=32, salt_len=16)

# Verified when there is no such user, so that the answer takes as long as for one with a wrong password.
# It is the hash of random bytes that were thrown away: no password fits.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$bm9ib2R5J3Mgc2FsdCEhIQ$pWmqVTYKn2W9RcAnLwJAnHd7ZxnFMyyUbcbm6cP1rUs"


def hash_password(password: str, salt: bytes) -> str:
    """Return the argon2id hash in its standard text form (parameters and salt included).

    `salt` is 16 random bytes. Raises: ValueError for an empty or too long password.
    """
    if not 0 < len(password) <= PASSWORD_LENGTH_MAX:
        raise ValueError(f"a password has 1 to {PASSWORD_LENGTH_MAX} characters")
    return _HASHER.hash(password, salt=salt)


def verify_password(stored: str | None, password: str) -> bool:
    """Tell whether the password fits; `stored` is None when there is no such user or no password.

    A stored hash that is not argon2id fits no password.
    """
    usable = stored is not None and stored.startswith("$argon2id$")
    if not 0 < len(password) <= PASSWORD_LENGTH_MAX:
        password, usable = "x", False
    try:
        fits = _HASHER.verify(stored if usable and stored is not None else _NOBODY, password)
    except argon2.exceptions.VerificationError:
        return False
    except argon2.exceptions.InvalidHashError:
        return False
    return fits and usable


def needs_rehash(stored: str) -> bool:
    """Tell whether the hash was made with other parameters than today's; rehash at the next login."""
    return _HASHER.check_needs_rehash(stored)
