"""cluster.loft.sh/v1: what an agent serves."""

from __future__ import annotations

from loft.api.claim import VirtualClusterClaim
from loft.api.crd import AGE, VIRTUAL_CLUSTERS, Column, crd_schema
from loft.api.space import Space
from loft.api.virtualcluster import VirtualCluster
from loft.apiserver.authorize import Reviewer
from loft.apiserver.declaration import CRUD, Declaration, Group
from loft.apiserver.forward import Forwarded
from loft.cluster.claims import CLAIMS, ClaimPolicy, Claims
from loft.cluster.policy import SpacePolicy, VirtualClusterPolicy
from loft.cluster.spaces import Spaces
from loft.cluster.spaceview import SPACES
from loft.cluster.tenants import Tenants
from loft.core.resource import VIRTUALCLUSTERS, Resource
from loft.kube.client import Client
from loft.kube.informer import Informer

GROUP = "cluster.loft.sh"
VERSION = "v1"
VIEW = Resource(GROUP, VERSION, "virtualclusters", "VirtualCluster")

SPACE_COLUMNS = (
    Column("Display Name", "string", r".metadata.annotations.loft\.sh/display-name", priority=1),
    Column("User", "string", ".spec.user", "User who owns the space."),
    Column("Team", "string", ".spec.team", "Team that owns the space."),
    Column("Status", "string", ".status.phase", "Active, or Terminating."),
    AGE,
)


def cluster_group(client: Client, reviewer: Reviewer, tenants: Tenants, clusters: Informer) -> Group:
    """Return the group.

    Args:
        client: acts with the agent's own rights, after `reviewer` has allowed the caller.
        reviewer: asks the API server what a caller may do.
        tenants: who has something where.
        clusters: cache of all VirtualClusters.
    """
    spaces = Declaration(
        resource=SPACES,
        kind=Space,
        verbs=CRUD,
        store=Spaces(client, reviewer),
        policy=SpacePolicy(reviewer, tenants),
        columns=SPACE_COLUMNS,
    )
    virtual_clusters = Declaration(
        resource=VIEW,
        kind=VirtualCluster,
        verbs=CRUD,
        store=Forwarded(client, VIEW, VIRTUALCLUSTERS),
        policy=VirtualClusterPolicy(reviewer, tenants),
        columns=VIRTUAL_CLUSTERS.columns,
        schema=crd_schema(VIRTUAL_CLUSTERS),
    )
    claims = Declaration(
        resource=CLAIMS,
        kind=VirtualClusterClaim,
        verbs=("create",),
        store=Claims(client, reviewer, clusters),
        policy=ClaimPolicy(reviewer),
    )
    return Group(name=GROUP, version=VERSION, declarations=(spaces, virtual_clusters, claims))
