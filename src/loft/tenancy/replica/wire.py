"""The messages from the centre to an agent, one JSON object a line. Pure.

A connection begins with Hello and a Snapshot; Deltas follow, and a Heartbeat whenever nothing was said for a while.
Whatever arrives shows that the centre is there, so each message renews the lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from loft.api.accesskey import AccessKey
from loft.api.user import Team, User
from loft.identity.directory import Directory
from loft.identity.replica import Replica

HEARTBEAT_S = 10.0
SILENCE_S_MAX = 35.0
"""A connection on which nothing came for so long is dead."""
LINE_BYTES_MAX = 64 * 1024 * 1024
VERSION = 1

_Named = TypeVar("_Named", User, Team, AccessKey)


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello", rename="camel"):
    """Facts about the cluster; told again when they change."""

    version: int = VERSION
    cluster: str
    hosts: tuple[str, ...] = ()
    """Names and addresses under which people reach the agent directly; its certificate must have them."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag="snapshot", rename="camel"):
    """All of it."""

    replica: Replica


class Delta(msgspec.Struct, frozen=True, kw_only=True, tag="delta", rename="camel", omit_defaults=True):
    """What changed since the last snapshot or delta on this connection."""

    revision: str
    users: list[User] = []
    teams: list[Team] = []
    keys: list[AccessKey] = []
    removed_users: list[str] = []
    removed_teams: list[str] = []
    removed_keys: list[str] = []


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat", rename="camel"):
    """Nothing has changed."""

    revision: str


Message = Hello | Snapshot | Delta | Heartbeat
_decoder = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return one line."""
    return msgspec.json.encode(message) + b"\n"


def decode(line: bytes) -> Message:
    """Read one line. Raises: msgspec.DecodeError or its ValidationError."""
    found: Message = _decoder.decode(line)
    return found


def difference(old: Replica, new: Replica) -> Snapshot | Delta | None:
    """Return what leads from one state to the next; None when they have the same content."""
    if (old.signing_public_key, old.lease_s) != (new.signing_public_key, new.lease_s):
        return Snapshot(replica=new)
    users, removed_users = _changes(old.users, new.users)
    teams, removed_teams = _changes(old.teams, new.teams)
    keys, removed_keys = _changes(old.keys, new.keys)
    if not any((users, teams, keys, removed_users, removed_teams, removed_keys)):
        return None
    return Delta(
        revision=new.revision,
        users=users,
        teams=teams,
        keys=keys,
        removed_users=removed_users,
        removed_teams=removed_teams,
        removed_keys=removed_keys,
    )


def applied(replica: Replica, delta: Delta) -> Replica:
    """Return the state after a delta."""
    return msgspec.structs.replace(
        replica,
        users=_merged(replica.users, delta.users, delta.removed_users),
        teams=_merged(replica.teams, delta.teams, delta.removed_teams),
        keys=_merged(replica.keys, delta.keys, delta.removed_keys),
        revision=delta.revision,
    )


def change_directory(directory: Directory, delta: Delta) -> None:
    """Bring a directory up to date in place: its cost is that of the change."""
    for user in delta.users:
        directory.set_user(user)
    for team in delta.teams:
        directory.set_team(team)
    for key in delta.keys:
        directory.set_access_key(key)
    for name in delta.removed_users:
        directory.remove_user(name)
    for name in delta.removed_teams:
        directory.remove_team(name)
    for name in delta.removed_keys:
        directory.remove_access_key(name)


def _changes(old: Sequence[_Named], new: Sequence[_Named]) -> tuple[list[_Named], list[str]]:
    before = {item.metadata.name: item for item in old}
    after = {item.metadata.name for item in new}
    changed = [item for item in new if before.get(item.metadata.name) != item]
    return changed, [name for name in before if name not in after]


def _merged(old: Sequence[_Named], changed: Sequence[_Named], removed: Sequence[str]) -> list[_Named]:
    found = {item.metadata.name: item for item in old}
    found.update((item.metadata.name, item) for item in changed)
    for name in removed:
        found.pop(name, None)
    return sorted(found.values(), key=lambda item: item.metadata.name)
