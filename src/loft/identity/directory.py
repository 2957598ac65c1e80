"""The users, teams and access keys that a gateway knows, held so that a key is found in one look-up.

Fed object by object: by informers at the centre, by the replica at an agent. Time is an argument, and the
only thing remembered apart from the objects is when a key was last used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from loft.api.accesskey import AccessKey
from loft.api.user import Team, User
from loft.identity.keys import is_well_formed, key_hash
from loft.identity.subject import AUTHENTICATED, TEAM_PREFIX, USER_PREFIX, Identity, Refusal, is_name

_T = TypeVar("_T", User, Team, AccessKey)
Object = Mapping[str, Any]

LOGIN_HINT = "log in again with `loft login`, or make a new access key"


class Directory:
    """Finds out who a bearer is. Every doubt ends in a Refusal."""

    def __init__(
        self,
        users: Iterable[User | Object] = (),
        teams: Iterable[Team | Object] = (),
        access_keys: Iterable[AccessKey | Object] = (),
        *,
        valid_until: datetime | None = None,
    ) -> None:
        """Take the objects, as Structs or as decoded JSON.

        `valid_until`: the end of an agent's lease; after it nobody is let in. None means no end.
        Raises: msgspec.ValidationError for an object of the wrong shape.
        """
        self.valid_until = valid_until
        self._users: dict[str, User] = {}
        self._logins: dict[str, set[str]] = {}
        self._teams: dict[str, Team] = {}
        self._teams_of_user: dict[str, set[str]] = {}
        self._teams_of_group: dict[str, set[str]] = {}
        self._keys: dict[str, AccessKey] = {}
        self._keys_of_hash: dict[str, set[str]] = {}
        self._last_used: dict[str, datetime] = {}
        for user in users:
            self.set_user(user)
        for team in teams:
            self.set_team(team)
        for key in access_keys:
            self.set_access_key(key)

    def set_user(self, user: User | Object) -> None:
        """Add or replace a user. One whose name no user may have (`system:…`) is never let in."""
        user = _struct(user, User)
        self.remove_user(user.metadata.name)
        self._users[user.metadata.name] = user
        self._logins.setdefault(login_name(user), set()).add(user.metadata.name)

    def remove_user(self, name: str) -> None:
        """Forget a user; their keys are refused from now on. Unknown names are ignored."""
        if (old := self._users.pop(name, None)) is not None:
            _discard(self._logins, login_name(old), name)

    def set_team(self, team: Team | Object) -> None:
        """Add or replace a team."""
        team = _struct(team, Team)
        self.remove_team(team.metadata.name)
        self._teams[team.metadata.name] = team
        for user in team.spec.users:
            self._teams_of_user.setdefault(user, set()).add(team.metadata.name)
        for group in team.spec.groups:
            self._teams_of_group.setdefault(group, set()).add(team.metadata.name)

    def remove_team(self, name: str) -> None:
        """Forget a team; unknown names are ignored."""
        if (old := self._teams.pop(name, None)) is None:
            return
        for user in old.spec.users:
            _discard(self._teams_of_user, user, name)
        for group in old.spec.groups:
            _discard(self._teams_of_group, group, name)

    def set_access_key(self, key: AccessKey | Object) -> None:
        """Add or replace an access key."""
        key = _struct(key, AccessKey)
        name = key.metadata.name
        old = self._keys.get(name)
        if old is not None and old.metadata.uid != key.metadata.uid:
            self._last_used.pop(name, None)
        self._unlink(old)
        self._keys[name] = key
        if key.spec.key_hash:
            self._keys_of_hash.setdefault(key.spec.key_hash, set()).add(name)

    def remove_access_key(self, name: str) -> None:
        """Forget a key; it is refused from now on. Unknown names are ignored."""
        self._unlink(self._keys.pop(name, None))
        self._last_used.pop(name, None)

    def authenticate(self, bearer: str, now: datetime) -> Identity | Refusal:
        """Return whose key this is, or why it is not accepted; an accepted use is remembered."""
        if not is_well_formed(bearer):
            return _refusal("Malformed", "the credential is not a bearer token")
        names = self._keys_of_hash.get(key_hash(bearer), ())
        if len(names) != 1:
            # Two objects with one hash: it cannot be told whose request this is.
            return _refusal("UnknownKey", "the access key is not known here (wrong, or deleted)")
        return self.identify(next(iter(names)), now)

    def identify(self, key_name: str, now: datetime) -> Identity | Refusal:
        """Return who may act by the named AccessKey object; for tokens that were derived from a key.

        The caller has verified that the bearer holds the key or such a token.
        """
        if self.valid_until is not None and now >= self.valid_until:
            return Refusal(
                reason="LeaseEnded",
                message="this cluster's copy of users and keys is too old to be trusted; "
                "it works again when the agent reaches the central instance",
            )
        key = self._keys.get(key_name)
        if key is None:
            return _refusal("UnknownKey", "the access key is not known here (wrong, or deleted)")
        identity = self._team_of(key) if key.spec.team else self._user_of(key)
        if isinstance(identity, Refusal):
            return identity
        if key.spec.disabled:
            return _refusal("DisabledKey", "the access key is disabled")
        if self._is_expired(key, now):
            return _refusal("ExpiredKey", "the access key has expired")
        self._last_used[key_name] = max(now, self._last_used.get(key_name, now))
        return identity

    def groups_of(self, user_name: str) -> tuple[str, ...]:
        """Return the Kubernetes groups of a user: their own, their teams', and everybody's."""
        teams = set(self._teams_of_user.get(user_name, ()))
        if (user := self._users.get(user_name)) is not None:
            for group in user.spec.groups:
                teams |= self._teams_of_group.get(group, set())
        named = sorted(team for team in teams if is_name(team))
        return (USER_PREFIX + user_name, *(TEAM_PREFIX + team for team in named), AUTHENTICATED)

    def by_login(self, username: str) -> User | None:
        """Return the user who signs in under this name; None when there is none, or more than one."""
        names = self._logins.get(username, ())
        return self._users[next(iter(names))] if len(names) == 1 else None

    def user(self, name: str) -> User | None:
        """Return a user by object name."""
        return self._users.get(name)

    def access_key(self, name: str) -> AccessKey | None:
        """Return an access key by object name."""
        return self._keys.get(name)

    def users(self) -> list[User]:
        """Return all users, in no order."""
        return list(self._users.values())

    def teams(self) -> list[Team]:
        """Return all teams, in no order."""
        return list(self._teams.values())

    def access_keys(self) -> list[AccessKey]:
        """Return all access keys, in no order."""
        return list(self._keys.values())

    def last_used(self) -> dict[str, datetime]:
        """Return when each key was last accepted here, by AccessKey name; for status.lastActivity."""
        return dict(self._last_used)

    def take_over_last_used(self, other: Directory) -> None:
        """Keep what another directory remembers of uses; for a whole replacement of the objects."""
        for name, used in other._last_used.items():
            key, old = self._keys.get(name), other._keys.get(name)
            if key is not None and old is not None and key.metadata.uid == old.metadata.uid:
                self._last_used[name] = max(used, self._last_used.get(name, used))

    def _user_of(self, key: AccessKey) -> Identity | Refusal:
        name = key.spec.user
        user = self._users.get(name)
        if user is None or not is_name(name):
            return _refusal("UnknownUser", "the user of the access key does not exist (any more)")
        if user.spec.disabled:
            return _refusal("DisabledUser", f"user {name} is disabled; ask an administrator")
        if key.spec.token_generation < user.spec.token_generation:
            return _refusal("EndedSession", f"all sessions and keys of user {name} were ended")
        return Identity(
            user=USER_PREFIX + name,
            groups=self.groups_of(name),
            name=name,
            uid=user.metadata.uid,
            key_name=key.metadata.name,
            scope=key.spec.scope,
        )

    def _team_of(self, key: AccessKey) -> Identity | Refusal:
        name = key.spec.team
        team = self._teams.get(name)
        if key.spec.user or team is None or not is_name(name):
            return _refusal("UnknownTeam", "the team of the access key does not exist (any more)")
        return Identity(
            user=TEAM_PREFIX + name,
            groups=(TEAM_PREFIX + name, AUTHENTICATED),
            name=name,
            uid=team.metadata.uid,
            key_name=key.metadata.name,
            scope=key.spec.scope,
        )

    def _is_expired(self, key: AccessKey, now: datetime) -> bool:
        if key.spec.ttl == 0:
            return False
        begin = _time(key.metadata.creation_timestamp)
        if begin is None or key.spec.ttl < 0:
            return True  # cannot be told: refuse
        if key.spec.ttl_after_last_activity:
            uses = (_time(key.status.last_activity), self._last_used.get(key.metadata.name))
            begin = max([begin, *(use for use in uses if use is not None)])
        return now >= begin + timedelta(seconds=key.spec.ttl)

    def _unlink(self, key: AccessKey | None) -> None:
        if key is not None:
            _discard(self._keys_of_hash, key.spec.key_hash, key.metadata.name)


def login_name(user: User) -> str:
    """Return the name typed at login: spec.username, or the object's name."""
    return user.spec.username or user.metadata.name


def _struct(value: Any, kind: type[_T]) -> _T:
    return value if isinstance(value, kind) else msgspec.convert(value, kind)


def _refusal(reason: str, message: str) -> Refusal:
    return Refusal(reason=reason, message=f"{message}; {LOGIN_HINT}")


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None


def _discard(index: dict[str, set[str]], key: str, value: str) -> None:
    values = index.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del index[key]
