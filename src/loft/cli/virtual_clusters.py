"""What several commands do with virtual clusters: find one, make its context."""

from __future__ import annotations

from typing import Any

from loft.cli import contexts, spaces
from loft.cli.platform_api import PlatformApi


def find(api: PlatformApi, name: str, cluster: str, space: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (cluster, virtual cluster) for a name, narrowed by cluster and space.

    Raises: Failure NOT_FOUND, or USAGE naming the choices when there is more than one.
    """
    clusters = [api.cluster(cluster)] if cluster else api.clusters()
    found = []
    for candidate in clusters:
        home = candidate["metadata"]["name"]
        known = spaces.reachable(lambda chosen=home: api.virtual_clusters(chosen, space), alone=len(clusters) == 1)
        found += [(candidate, item) for item in known if item["metadata"]["name"] == name]
    return spaces.one(found, f"virtual cluster {name}", cluster)


def context(access: contexts.Access, space: str, name: str) -> contexts.Context:
    """Return the context of a virtual cluster."""
    return contexts.Context(
        contexts.virtual_cluster_context_name(name, space, access.cluster),
        contexts.virtual_cluster_server(access, space, name),
        "",
        access,
    )
