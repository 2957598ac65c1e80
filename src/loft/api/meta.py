"""Parts that every kind shares: object metadata, conditions, references, owners.

Source of names: Kubernetes API conventions and the storage.loft.sh/v1 field lists.
"""

from __future__ import annotations

import msgspec


class Kind(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of every field group that is stored; unknown fields are pruned by the API server, not here."""


class ObjectMeta(Kind, frozen=True, kw_only=True):
    """The part of metadata that our code reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: list[str] = []


class Condition(Kind, frozen=True, kw_only=True):
    """One observed aspect of an object; `status` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    severity: str = ""
    last_transition_time: str | None = None


class SecretRef(Kind, frozen=True, kw_only=True):
    """A key of a Secret."""

    secret_name: str = ""
    secret_namespace: str = ""
    key: str = ""


class UserOrTeam(Kind, frozen=True, kw_only=True):
    """An owner or a grantee: exactly one of the two is set."""

    user: str = ""
    team: str = ""


class ClusterRoleRef(Kind, frozen=True, kw_only=True):
    """A ClusterRole by name."""

    name: str = ""


class Access(Kind, frozen=True, kw_only=True):
    """Who may do what with this one object; `*` stands for all."""

    name: str = ""
    verbs: list[str] = []
    subresources: list[str] = []
    users: list[str] = []
    teams: list[str] = []
