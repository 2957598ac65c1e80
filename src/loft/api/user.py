"""User and Team: the people the platform knows (storage.loft.sh/v1, cluster-scoped, at the centre)."""

from __future__ import annotations

from loft.api.meta import Access, ClusterRoleRef, Kind, ObjectMeta, SecretRef, UserOrTeam


class UserSpec(Kind, frozen=True, kw_only=True):
    """Who somebody is and how they may sign in."""

    display_name: str = ""
    description: str = ""
    owner: UserOrTeam | None = None
    username: str = ""
    """Name typed at login; unique; the object's own name when empty."""
    icon: str = ""
    email: str = ""
    subject: str = ""
    """Subject at the identity provider, if the user came from one."""
    groups: list[str] = []
    """Groups the identity provider reported at the last login."""
    password_ref: SecretRef | None = None
    """Where the argon2id hash of the password is kept; never a password."""
    token_generation: int = 0
    """Raising it ends every session and access key made before."""
    disabled: bool = False
    cluster_roles: list[ClusterRoleRef] = []
    """ClusterRoles at the centre."""
    access: list[Access] = []


class UserStatus(Kind, frozen=True, kw_only=True):
    """What the platform found out about a user."""

    teams: list[str] = []


class User(Kind, frozen=True, kw_only=True):
    """A person or a machine that can sign in."""

    metadata: ObjectMeta = ObjectMeta()
    spec: UserSpec = UserSpec()
    status: UserStatus = UserStatus()


class TeamSpec(Kind, frozen=True, kw_only=True):
    """A named set of users."""

    display_name: str = ""
    description: str = ""
    owner: UserOrTeam | None = None
    username: str = ""
    users: list[str] = []
    """Names of User objects."""
    groups: list[str] = []
    """Provider groups whose members belong to the team."""
    cluster_roles: list[ClusterRoleRef] = []
    access: list[Access] = []


class TeamStatus(Kind, frozen=True, kw_only=True):
    """Nothing is observed about a team yet."""


class Team(Kind, frozen=True, kw_only=True):
    """A set of users that owns things and gets permissions together."""

    metadata: ObjectMeta = ObjectMeta()
    spec: TeamSpec = TeamSpec()
    status: TeamStatus = TeamStatus()
