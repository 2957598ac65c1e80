"""What a credential stands for, once it is accepted, and why it was not.

User and group names at every API server: `loft:user:<name>`, `loft:team:<name>`, `system:authenticated`.
"""

from __future__ import annotations

import re

import msgspec

from loft.api.accesskey import AccessKeyScope

USER_PREFIX = "loft:user:"
TEAM_PREFIX = "loft:team:"
AUTHENTICATED = "system:authenticated"

# Object names of users and teams: DNS-1123 subdomain, as Kubernetes demands of custom resources. It has no
# colon, so no such name can begin with `system:` or with one of our prefixes.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_LENGTH_MAX = 253


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has shown a valid credential."""

    user: str
    """User name for Kubernetes: loft:user:NAME, or loft:team:NAME for a key of a team."""
    groups: tuple[str, ...]
    name: str
    """Name of the User (or Team) object."""
    uid: str = ""
    """uid of that object."""
    key_name: str = ""
    """Name of the AccessKey object."""
    scope: AccessKeyScope | None = None
    """What the key is limited to; None means not limited."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a credential is not accepted; the message is fit to be shown to its holder."""

    reason: str
    """One CamelCase word for logs and metrics."""
    message: str


def is_name(name: str) -> bool:
    """Tell whether a user or team may have this name; `system:…` can never be one."""
    return len(name) <= _NAME_LENGTH_MAX and _NAME.fullmatch(name) is not None
