"""AccessKey: a bearer credential of a user or team (storage.loft.sh/v1, at the centre).

The key itself is shown once, when it is made, and never stored: the object holds its SHA-256.
A 256-bit random key needs no slow hash (security case 87).
"""

from __future__ import annotations

import msgspec

from loft.api.meta import Kind, ObjectMeta


class GroupResources(Kind, frozen=True, kw_only=True):
    """Resources of one API group; empty `resources` or `*` means all of the group."""

    group: str = ""
    resources: list[str] = []
    resource_names: list[str] = []


class AccessKeyVirtualCluster(Kind, frozen=True, kw_only=True):
    """A virtual cluster that a key may reach."""

    name: str = ""
    namespace: str = ""


class AccessKeyScopeRule(Kind, frozen=True, kw_only=True):
    """One thing a limited key may do; every list that is set must match."""

    verbs: list[str] = []
    resources: list[GroupResources] = []
    namespaces: list[str] = []
    non_resource_urls: list[str] = msgspec.field(default_factory=list, name="nonResourceURLs")
    request_targets: list[str] = []
    """Any of Management, Cluster, VCluster."""
    cluster: str = ""
    virtual_clusters: list[AccessKeyVirtualCluster] = []


class AccessKeyScope(Kind, frozen=True, kw_only=True):
    """A key with a scope may do only what a rule allows; deny is the default."""

    rules: list[AccessKeyScopeRule] = []


class AccessKeySpec(Kind, frozen=True, kw_only=True):
    """Whose key it is, how long and for what it works."""

    user: str = ""
    team: str = ""
    key_hash: str = ""
    """SHA-256 of the key, 64 lower-case hex digits."""
    parent: str = ""
    disabled: bool = False
    display_name: str = ""
    ttl: int = 0
    """Seconds the key is valid after its creation; 0 means it does not expire."""
    ttl_after_last_activity: bool = False
    """Count the ttl from the last use instead of the creation."""
    scope: AccessKeyScope | None = None
    type: str = ""
    """"" or User (made by hand), Login (a sign-in), Reset, OIDCRefreshToken."""
    token_generation: int = 0
    """The user's tokenGeneration when the key was made; an older key is void."""


class AccessKeyStatus(Kind, frozen=True, kw_only=True):
    """When the key was last used (RFC 3339)."""

    last_activity: str | None = None


class AccessKey(Kind, frozen=True, kw_only=True):
    """A bearer credential."""

    metadata: ObjectMeta = ObjectMeta()
    spec: AccessKeySpec = AccessKeySpec()
    status: AccessKeyStatus = AccessKeyStatus()
