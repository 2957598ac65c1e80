"""management.loft.sh/v1: what the central instance serves."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from loft.api.cluster import Cluster
from loft.api.crd import AGE, Column, crd_schema
from loft.api.crd import CLUSTERS as CLUSTER_CRD
from loft.api.crd import TEAMS as TEAM_CRD
from loft.api.crd import USERS as USER_CRD
from loft.api.management import ClusterConnect, DirectClusterEndpointToken, OwnedAccessKey, Self, UserProfile
from loft.api.user import Team, User
from loft.apiserver.authorize import Ours, Rbac, Reviewer
from loft.apiserver.declaration import CRUD, Declaration, Group, Subresource
from loft.apiserver.forward import Forwarded
from loft.core.resource import CLUSTERS, TEAMS, Resource
from loft.kube.client import Client
from loft.management.accesskeys import OWNED_ACCESS_KEYS, OwnedAccessKeys
from loft.management.connects import CONNECTS, ClusterConnects, Connect
from loft.management.endpointtokens import TOKENS, EndpointTokens, Sign
from loft.management.policy import ObjectPolicy, member
from loft.management.roles import RoleCheck
from loft.management.selves import SELVES, Selves
from loft.management.users import VIEW as USER_VIEW
from loft.management.users import Users

GROUP = "management.loft.sh"
VERSION = "v1"
CLUSTER_VIEW = Resource(GROUP, VERSION, "clusters", "Cluster", namespaced=False)
TEAM_VIEW = Resource(GROUP, VERSION, "teams", "Team", namespaced=False)

Object = dict[str, Any]
STATUS = ("get", "patch", "update")


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What the group needs from the process that serves it."""

    client: Client
    """Acts with the central instance's own rights, after `reviewer` has allowed the caller."""
    reviewer: Reviewer
    namespace: str
    """Where the central instance keeps its Secrets."""
    sign: Sign
    """Signs tokens for direct cluster endpoints."""
    connect: Connect
    """Connects a cluster."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    random: Callable[[int], bytes] = secrets.token_bytes


def reduced_cluster(cluster: Object) -> Object:
    """Return what everybody of the platform may know of a cluster: that it is there and how to reach it. Pure."""
    metadata = cluster["metadata"]
    kept = ("name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "labels")
    shown: Object = {key: metadata[key] for key in kept if key in metadata}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith("loft.sh/direct-cluster-endpoint") or key in ("loft.sh/display-name", "loft.sh/description")
    }
    if annotations:
        shown["annotations"] = annotations
    spec, status = cluster.get("spec") or {}, cluster.get("status") or {}
    return {
        "apiVersion": cluster["apiVersion"],
        "kind": cluster["kind"],
        "metadata": shown,
        "spec": {key: spec[key] for key in ("displayName", "description", "local") if key in spec},
        "status": {key: status[key] for key in ("phase", "online") if key in status},
    }


def management_group(given: Deployment) -> Group:
    """Return the group."""
    return Group(name=GROUP, version=VERSION, declarations=(*_stored(given), *_virtual(given)))


def _stored(given: Deployment) -> tuple[Declaration, ...]:
    client, reviewer = given.client, given.reviewer
    return (
        Declaration(
            resource=CLUSTER_VIEW,
            kind=Cluster,
            verbs=CRUD,
            store=Forwarded(client, CLUSTER_VIEW, CLUSTERS),
            policy=ObjectPolicy(reviewer, CLUSTER_VIEW, reduced=reduced_cluster),
            columns=CLUSTER_CRD.columns,
            schema=crd_schema(CLUSTER_CRD),
            subresources=(Subresource(name="status", verbs=STATUS, kind=Cluster),),
        ),
        Declaration(
            resource=USER_VIEW,
            kind=User,
            verbs=CRUD,
            store=Users(client, reviewer, given.namespace, given.random),
            policy=ObjectPolicy(reviewer, USER_VIEW, right=member),
            columns=USER_CRD.columns,
            schema=crd_schema(USER_CRD),
            subresources=(
                Subresource(name="profile", verbs=("create", "get"), kind=UserProfile),
                Subresource(name="status", verbs=STATUS, kind=User),
            ),
        ),
        Declaration(
            resource=TEAM_VIEW,
            kind=Team,
            verbs=CRUD,
            store=Forwarded(client, TEAM_VIEW, TEAMS, check=RoleCheck(client, reviewer, TEAM_VIEW, TEAMS)),
            policy=ObjectPolicy(reviewer, TEAM_VIEW, right=member),
            columns=TEAM_CRD.columns,
            schema=crd_schema(TEAM_CRD),
        ),
    )


def _virtual(given: Deployment) -> tuple[Declaration, ...]:
    client = given.client
    return (
        Declaration(
            resource=SELVES,
            kind=Self,
            verbs=("create", "get", "list"),
            store=Selves(client),
            policy=Ours(SELVES),
            columns=(Column("Subject", "string", ".status.subject"),),
        ),
        Declaration(
            resource=OWNED_ACCESS_KEYS,
            kind=OwnedAccessKey,
            verbs=("create", "delete", "get", "list"),
            store=OwnedAccessKeys(client, given.random),
            policy=Ours(OWNED_ACCESS_KEYS),
            columns=(
                Column("Display Name", "string", ".spec.displayName"),
                Column("Type", "string", ".spec.type"),
                Column("Disabled", "boolean", ".spec.disabled"),
                Column("Last Activity", "date", ".status.lastActivity"),
                AGE,
            ),
        ),
        Declaration(
            resource=TOKENS,
            kind=DirectClusterEndpointToken,
            verbs=("create",),
            store=EndpointTokens(client, given.sign, given.now),
            policy=Ours(TOKENS),
        ),
        Declaration(
            resource=CONNECTS,
            kind=ClusterConnect,
            verbs=("create",),
            store=ClusterConnects(client, given.connect),
            policy=Rbac(given.reviewer, CONNECTS),
            aliases=("clusterconnect",),
        ),
    )
