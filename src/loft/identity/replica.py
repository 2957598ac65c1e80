"""What an agent gets to know about people: just enough to decide about requests while the centre is away.

No password hash, no mail address, no key: users and teams as far as groups depend on them, access keys as
hashes. JSON on the wire and in the agent's Secret.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from loft.api.accesskey import AccessKey
from loft.api.meta import ObjectMeta
from loft.api.user import Team, TeamSpec, User, UserSpec
from loft.identity.directory import Directory

LEASE_S_DEFAULT = 12 * 3600


class Replica(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One complete state of the directory for an agent."""

    users: list[User] = []
    teams: list[Team] = []
    keys: list[AccessKey] = []
    signing_public_key: str = ""
    """PEM; verifies tokens for the direct endpoint."""
    lease_s: int = LEASE_S_DEFAULT
    """How long the agent may decide by this state after it last heard from the centre."""
    revision: str = ""
    """Opaque; equal revisions have equal content."""


def replica_of(directory: Directory, *, signing_public_key: str, lease_s: int, revision: str) -> Replica:
    """Return what an agent needs of a directory, in a fixed order."""
    return Replica(
        users=[_user(user) for user in sorted(directory.users(), key=lambda user: user.metadata.name)],
        teams=[_team(team) for team in sorted(directory.teams(), key=lambda team: team.metadata.name)],
        keys=[_key(key) for key in sorted(directory.access_keys(), key=lambda key: key.metadata.name)],
        signing_public_key=signing_public_key,
        lease_s=lease_s,
        revision=revision,
    )


def directory_of(replica: Replica, heard: datetime) -> Directory:
    """Return a directory that decides by the replica until its lease ends, counted from `heard`.

    `heard` is when the agent last heard from the centre, even if nothing had changed.
    """
    return Directory(replica.users, replica.teams, replica.keys, valid_until=heard + timedelta(seconds=replica.lease_s))


def encode(replica: Replica) -> bytes:
    """Return the JSON form, on one line."""
    return msgspec.json.encode(replica)


def decode(data: bytes) -> Replica:
    """Read the JSON form. Raises: msgspec.DecodeError or its ValidationError."""
    return msgspec.json.decode(data, type=Replica)


def _meta(meta: ObjectMeta) -> ObjectMeta:
    return ObjectMeta(name=meta.name, uid=meta.uid, creation_timestamp=meta.creation_timestamp)


def _user(user: User) -> User:
    spec = UserSpec(groups=user.spec.groups, token_generation=user.spec.token_generation, disabled=user.spec.disabled)
    return User(metadata=_meta(user.metadata), spec=spec)


def _team(team: Team) -> Team:
    return Team(metadata=_meta(team.metadata), spec=TeamSpec(users=team.spec.users, groups=team.spec.groups))


def _key(key: AccessKey) -> AccessKey:
    spec = msgspec.structs.replace(key.spec, display_name="", parent="")
    return AccessKey(metadata=_meta(key.metadata), spec=spec, status=key.status)
