"""Who sends a request, as a trusted front proxy says it.

Pure. The headers are believed only when the connection was opened with a client certificate of an authority
(loft.apiserver.trust); each authority says which headers it uses and what it may claim.
Source: Kubernetes "Configure the aggregation layer" and "Authenticating Proxy".
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

import msgspec

from loft.kube.errors import Unauthorized

USER_PREFIX = "loft:user:"
TEAM_PREFIX = "loft:team:"
AUTHENTICATED = "system:authenticated"
KEY_EXTRA = "loft-key"
"""Extra field in which the gateway names the AccessKey object that a request was made with."""

Headers = Iterable[tuple[bytes, bytes]]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A user as Kubernetes knows one."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = {}

    @property
    def user_name(self) -> str:
        """Name of the User object, "" when the caller is not a user of the platform."""
        return self.user.removeprefix(USER_PREFIX) if self.user.startswith(USER_PREFIX) else ""

    @property
    def team_name(self) -> str:
        """Name of the Team object when a team's own key is used, else ""."""
        return self.user.removeprefix(TEAM_PREFIX) if self.user.startswith(TEAM_PREFIX) else ""

    @property
    def is_ours(self) -> bool:
        """Whether the platform gave this identity (and not the cluster, as for service accounts)."""
        return bool(self.user_name or self.team_name)

    @property
    def teams(self) -> tuple[str, ...]:
        """Names of the teams that the caller acts for."""
        return tuple(group.removeprefix(TEAM_PREFIX) for group in self.groups if group.startswith(TEAM_PREFIX))

    @property
    def key_name(self) -> str:
        """Name of the AccessKey object that the request was made with, "" when unknown."""
        return (self.extra.get(KEY_EXTRA) or ("",))[0]


class HeaderNames(msgspec.Struct, frozen=True, kw_only=True):
    """Which headers carry what; names in lower case."""

    user: tuple[str, ...] = ("x-remote-user",)
    group: tuple[str, ...] = ("x-remote-group",)
    uid: tuple[str, ...] = ("x-remote-uid",)
    extra_prefix: tuple[str, ...] = ("x-remote-extra-",)


def caller_from(headers: Headers, names: HeaderNames, *, ours_only: bool) -> Caller:
    """Return who the front proxy says the caller is.

    Args:
        headers: as received, names in lower case.
        names: the authority's header names.
        ours_only: refuse identities that are not the platform's; for our own gateway, which knows no others.

    Raises: Unauthorized when there is no user, more than one, or one that this authority must not claim.
    """
    users, groups, uids = [], [], []
    extra: dict[str, tuple[str, ...]] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        if not name.startswith("x-") and name not in names.user + names.group + names.uid:
            continue
        value = _text(raw_value)
        if name in names.user:
            users.append(value)
        elif name in names.group:
            groups.append(value)
        elif name in names.uid:
            uids.append(value)
        else:
            for prefix in names.extra_prefix:
                if name.startswith(prefix) and len(name) > len(prefix):
                    key = unquote(name.removeprefix(prefix)).lower()
                    extra[key] = (*extra.get(key, ()), value)
    if len(users) != 1 or not users[0] or len(uids) > 1:
        raise Unauthorized(401, "Unauthorized", "the request names no user, or more than one")
    caller = Caller(user=users[0], groups=tuple(groups), uid=uids[0] if uids else "", extra=extra)
    if ours_only:
        _refuse_foreign(caller)
    return caller


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Unauthorized(401, "Unauthorized", "an identity header is not UTF-8") from None


def _refuse_foreign(caller: Caller) -> None:
    allowed = (USER_PREFIX, TEAM_PREFIX)
    foreign = [group for group in caller.groups if group != AUTHENTICATED and not group.startswith(allowed)]
    if not caller.is_ours or foreign:
        raise Unauthorized(401, "Unauthorized", "the gateway named an identity that is not one of the platform")
