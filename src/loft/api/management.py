"""Kinds that management.loft.sh/v1 has beyond the stored ones: questions and answers, not objects that are kept."""

from __future__ import annotations

from loft.api.accesskey import AccessKeyScope
from loft.api.meta import Kind, ObjectMeta


class EntityInfo(Kind, frozen=True, kw_only=True):
    """A user or team as it is shown to others."""

    name: str = ""
    """Name of the object."""
    display_name: str = ""
    username: str = ""
    """Name typed at login."""
    email: str = ""
    subject: str = ""


class UserInfo(EntityInfo, frozen=True, kw_only=True):
    """The user who asks."""

    teams: list[EntityInfo] = []
    """Teams the user belongs to."""


class SelfSpec(Kind, frozen=True, kw_only=True):
    """Nothing is asked but "who am I"."""


class SelfStatus(Kind, frozen=True, kw_only=True):
    """Who the caller is."""

    user: UserInfo | None = None
    """Set when the credential belongs to a user."""
    team: EntityInfo | None = None
    """Set when the credential belongs to a team."""
    access_key: str = ""
    """Name of the access key that the request was made with."""
    access_key_type: str = ""
    """Type of that key: "" or User, Login, Reset."""
    subject: str = ""
    """User name at Kubernetes."""
    groups: list[str] = []
    """Groups at Kubernetes."""


class Self(Kind, frozen=True, kw_only=True):
    """Who the caller is, as the platform sees them."""

    metadata: ObjectMeta = ObjectMeta()
    spec: SelfSpec = SelfSpec()
    status: SelfStatus = SelfStatus()


class OwnedAccessKeySpec(Kind, frozen=True, kw_only=True):
    """What the key is for and how long it works."""

    user: str = ""
    """Set by the server: the caller."""
    team: str = ""
    """Set by the server when a team makes a key for itself."""
    key: str = ""
    """The key. Only in the answer to create, never again; leave it empty."""
    parent: str = ""
    """Set by the server: the key with which this one was made."""
    disabled: bool = False
    display_name: str = ""
    ttl: int = 0
    """Seconds the key works after its creation; 0 means it does not expire."""
    ttl_after_last_activity: bool = False
    """Count the ttl from the last use instead of the creation."""
    scope: AccessKeyScope | None = None
    """What the key may be used for; everything its owner may do when empty."""
    type: str = ""
    """"" or User (made by hand), Login (a sign-in)."""


class OwnedAccessKeyStatus(Kind, frozen=True, kw_only=True):
    """When the key was last used."""

    last_activity: str | None = None


class OwnedAccessKey(Kind, frozen=True, kw_only=True):
    """An access key of the caller."""

    metadata: ObjectMeta = ObjectMeta()
    spec: OwnedAccessKeySpec = OwnedAccessKeySpec()
    status: OwnedAccessKeyStatus = OwnedAccessKeyStatus()


class DirectClusterEndpointTokenSpec(Kind, frozen=True, kw_only=True):
    """For which cluster, and how long."""

    cluster: str = ""
    """Name of the Cluster, which must have the annotation loft.sh/direct-cluster-endpoint."""
    ttl: int = 0
    """Seconds; a day when 0, which is also the longest."""


class DirectClusterEndpointTokenStatus(Kind, frozen=True, kw_only=True):
    """The answer."""

    token: str = ""
    """Bearer token for the direct endpoint of that cluster."""
    expiration_timestamp: str | None = None


class DirectClusterEndpointToken(Kind, frozen=True, kw_only=True):
    """A token with which the caller reaches one cluster without the central instance."""

    metadata: ObjectMeta = ObjectMeta()
    spec: DirectClusterEndpointTokenSpec = DirectClusterEndpointTokenSpec()
    status: DirectClusterEndpointTokenStatus = DirectClusterEndpointTokenStatus()


class ClusterConnectSpec(Kind, frozen=True, kw_only=True):
    """The cluster to connect; metadata.name becomes the name of the Cluster."""

    config: str = ""
    """Kubeconfig (YAML) with inline data only; used once, to install the agent, and not kept."""
    display_name: str = ""


class ClusterConnectStatus(Kind, frozen=True, kw_only=True):
    """How it went."""

    failed: bool = False
    reason: str = ""
    message: str = ""


class ClusterConnect(Kind, frozen=True, kw_only=True):
    """The wish to connect a cluster."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ClusterConnectSpec = ClusterConnectSpec()
    status: ClusterConnectStatus = ClusterConnectStatus()


class UserProfile(Kind, frozen=True, kw_only=True):
    """What users may change about themselves. A field that is not sent is left as it is."""

    display_name: str | None = None
    icon: str | None = None
    password: str | None = None
    """New password; never readable."""
    current_password: str | None = None
    """Asked of users who change their own password."""
