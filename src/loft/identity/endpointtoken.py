"""Tokens for direct cluster endpoints: short-lived, for one cluster, verified there without the centre.

A compact JWT (RFC 7519) signed with ES256. The algorithm is fixed here and not taken from the token
(RFC 8725 section 3.1); headers that point to keys (`jku`, `x5u`, `jwk`, `kid`) are ignored, unknown `crit`
is refused by the library. A token names the access key it was made with, so that revoking the key ends it.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime, timedelta
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from loft.identity.subject import Refusal

ISSUER = "loft"
AUDIENCE_PREFIX = "loft-cluster:"
CLOCK_SKEW_S = 60
"""A centre's clock may be ahead of an agent's by so much; `exp` gets no such grace."""
LIFETIME_S_MAX = 24 * 3600

_ALGORITHM = "ES256"
_PART = re.compile(r"[A-Za-z0-9_-]+")


class EndpointToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says."""

    cluster: str
    user: str
    """Name of the User object (or Team, for a team's key)."""
    key: str
    """Name of the AccessKey object that it was made with."""
    expires: datetime


def sign(token: EndpointToken, private_key: bytes, now: datetime) -> str:
    """Return the signed token; `private_key` is an EC P-256 key in PEM.

    Raises: ValueError when it would be over already or live longer than LIFETIME_S_MAX, or lacks a claim.
    """
    if not now < token.expires <= now + timedelta(seconds=LIFETIME_S_MAX):
        raise ValueError(f"an endpoint token lives 1 s to {LIFETIME_S_MAX} s")
    if not (token.cluster and token.user and token.key):
        raise ValueError("an endpoint token names a cluster, a user and an access key")
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE_PREFIX + token.cluster,
        "sub": token.user,
        "key": token.key,
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(token.expires.timestamp()),
    }
    header = {"alg": _ALGORITHM, "typ": "JWT"}
    return jwt.encode(header, claims, ECKey.import_key(private_key), algorithms=[_ALGORITHM])


def verify(token: str, public_key: bytes, cluster: str, now: datetime) -> EndpointToken | Refusal:
    """Return what a token for this cluster says, or why it is not accepted here."""
    try:
        decoded = jwt.decode(token, ECKey.import_key(public_key), algorithms=[_ALGORITHM])
    except (JoseError, ValueError, TypeError, KeyError, binascii.Error):
        return _refusal("BadToken", "the endpoint token is not genuine")
    return _checked(decoded.claims, cluster, now)


def claimed(token: str) -> dict[str, Any] | None:
    """Return the claims of a JWT *without* verifying it; None when it is none.

    Only to tell whose token it is meant to be, never to decide anything by.
    """
    parts = token.split(".")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        return None
    try:
        payload = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def _checked(claims: dict[str, Any], cluster: str, now: datetime) -> EndpointToken | Refusal:
    if claims.get("iss") != ISSUER:
        return _refusal("BadIssuer", "the endpoint token was not made by the platform")
    if not cluster or claims.get("aud") != AUDIENCE_PREFIX + cluster:
        return _refusal("BadAudience", f"the endpoint token is not for cluster {cluster}")
    user, key = claims.get("sub"), claims.get("key")
    if not (isinstance(user, str) and user and isinstance(key, str) and key):
        return _refusal("BadToken", "the endpoint token names no user or no access key")
    expires = _seconds(claims.get("exp"))
    begins = [_seconds(claims.get(name, 0)) for name in ("nbf", "iat")]
    if expires is None or None in begins:
        return _refusal("BadToken", "the endpoint token has no valid end")
    if now.timestamp() >= expires:
        return _refusal("ExpiredToken", "the endpoint token has expired")
    if any(begin is not None and begin > now.timestamp() + CLOCK_SKEW_S for begin in begins):
        return _refusal("EarlyToken", "the endpoint token is not valid yet; compare the clocks")
    return EndpointToken(cluster=cluster, user=user, key=key, expires=datetime.fromtimestamp(expires, tz=now.tzinfo))


def _seconds(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 36 else None


def _refusal(reason: str, message: str) -> Refusal:
    return Refusal(reason=reason, message=f"{message}; `loft use cluster` gets a new one")
