"""Exactly one credential out of the headers of a request, or a refusal.

A bearer token in `Authorization`, or, for browsers, in a WebSocket subprotocol (KEP-2935 style, as the API
server takes it: `base64url.bearer.authorization.k8s.io.<token>`). Never from the query, never Basic, never
two at once: of two credentials one could be checked and the other one used.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec

from loft.identity.keys import is_well_formed

PROTOCOL_PREFIX = "base64url.bearer.authorization.k8s.io."

Headers = Sequence[tuple[str, bytes]]
"""Lower-case names with raw values, in order, duplicates kept."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What the client presents."""

    bearer: str = ""
    """"" when there is no credential."""
    protocols: str | None = None
    """The subprotocols without the token, to be forwarded; None when the header need not change."""


class BadCredential(msgspec.Struct, frozen=True, kw_only=True):
    """Why the headers hold no usable credential."""

    message: str


def find_credential(headers: Headers) -> Credential | BadCredential:
    """Return the one credential of a request."""
    values = [value for name, value in headers if name == "authorization"]
    if len(values) > 1:
        return BadCredential(message="the request has more than one Authorization header")
    found = _from_protocols([value for name, value in headers if name == "sec-websocket-protocol"])
    if isinstance(found, BadCredential) or not values:
        return found
    if found.bearer:
        return BadCredential(message="the request has two credentials: Authorization and a WebSocket subprotocol")
    return _from_authorization(values[0])


def _from_authorization(value: bytes) -> Credential | BadCredential:
    scheme, _, token = value.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        return BadCredential(message="only bearer tokens are accepted (Authorization: Bearer ACCESS_KEY)")
    token = token.strip(" ")
    if not is_well_formed(token):
        return BadCredential(message="the Authorization header does not hold one bearer token")
    return Credential(bearer=token)


def _from_protocols(values: list[bytes]) -> Credential | BadCredential:
    listed = [entry.strip(" \t") for value in values for entry in value.decode("latin-1").split(",")]
    tokens = [entry for entry in listed if entry.startswith(PROTOCOL_PREFIX)]
    if not tokens:
        return Credential()
    others = [entry for entry in listed if entry and not entry.startswith(PROTOCOL_PREFIX)]
    if len(tokens) > 1 or not others:
        return BadCredential(message="a WebSocket request takes one token and at least one more subprotocol")
    encoded = tokens[0].removeprefix(PROTOCOL_PREFIX)
    try:
        token = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        token = ""
    if not is_well_formed(token):
        return BadCredential(message="the WebSocket subprotocol does not hold a bearer token")
    return Credential(bearer=token, protocols=", ".join(others))
