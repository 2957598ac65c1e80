"""VirtualClusterClaim: take a virtual cluster that runs already (cluster.loft.sh/v1, connected clusters).

Not stored: creating one gives a warm virtual cluster, in a space of its own, to its new owner.
"""

from __future__ import annotations

from loft.api.meta import Kind, ObjectMeta


class VirtualClusterClaimSpec(Kind, frozen=True, kw_only=True):
    """What it shall be called, and whose it becomes."""

    virtual_cluster: str = ""
    """Name of the virtual cluster."""
    user: str = ""
    """Owner of the space; the one who claims when neither user nor team is given."""
    team: str = ""
    """Owning team, instead of a user."""
    display_name: str = ""
    description: str = ""


class VirtualClusterClaimStatus(Kind, frozen=True, kw_only=True):
    """Where it is."""

    space: str = ""


class VirtualClusterClaim(Kind, frozen=True, kw_only=True):
    """A claim for a virtual cluster that runs already."""

    metadata: ObjectMeta = ObjectMeta()
    spec: VirtualClusterClaimSpec = VirtualClusterClaimSpec()
    status: VirtualClusterClaimStatus = VirtualClusterClaimStatus()
