"""The outcome of looking at one request: let through with these headers, refuse, or ask for permission first."""

from __future__ import annotations

import msgspec

from loft.gateway.credential import Headers
from loft.identity.subject import Identity


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision is made from."""

    method: str
    path: str
    """Raw, with query."""
    authority: str
    headers: Headers
    from_centre: bool = False
    """It came in on the agent's listener for the centre, with the centre's client certificate."""


class Allow(msgspec.Struct, frozen=True, kw_only=True):
    """Forward it."""

    upstream: str
    path: str
    set_headers: tuple[tuple[str, str], ...] = ()
    group_header: str = ""
    """Header under which the groups go on, one line each; "" when they do not."""
    groups: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    is_long_running: bool = False
    audit: dict[str, str] = {}


class Deny(msgspec.Struct, frozen=True, kw_only=True):
    """Answer with a Status."""

    code: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()
    audit: dict[str, str] = {}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Do `then` if the identity may get the virtual cluster's object, else refuse."""

    identity: Identity
    namespace: str
    name: str
    then: Allow | Deny
    audit: dict[str, str] = {}


Decision = Allow | Deny | Ask


class Refused(Exception):
    """A refusal met on the way to a decision; never leaves the pure code."""

    def __init__(self, code: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.deny = Deny(code=code, message=message, headers=tuple(headers.items()))
