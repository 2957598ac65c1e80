"""What several commands do with spaces: create one, find one, make its context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from loft.cli import contexts, exitcode
from loft.cli.failure import Failure
from loft.cli.platform_api import CLUSTER_API, PlatformApi
from loft.cli.transport import ServerRefused


@dataclass(frozen=True)
class Wish:
    """A space to be created."""

    name: str
    display_name: str = ""
    description: str = ""
    user: str = ""
    team: str = ""


def check_owner(api: PlatformApi, user: str, team: str) -> None:
    """Refuse an owner that does not exist, as far as the caller may see users and teams. Raises: Failure."""
    for kind, name in (("user", user), ("team", team)):
        if not name:
            continue
        try:
            api.management("GET", f"{kind}s/{quote(name, safe='')}")
        except ServerRefused as refused:
            if refused.status == 404:
                raise Failure(f"{kind} {name!r} is not known, so it can own nothing", exitcode.NOT_FOUND) from refused
            if refused.status != 403:
                raise


def create(api: PlatformApi, cluster: str, wish: Wish, *, use_existing: bool) -> bool:
    """Create a space; return False when it was there already and may be used.

    Raises: Failure CONFLICT when it exists and `use_existing` is false.
    """
    if use_existing and _exists(api, cluster, wish.name):
        return False
    annotations = {"loft.sh/display-name": wish.display_name, "loft.sh/description": wish.description}
    body: dict[str, Any] = {
        "apiVersion": "cluster.loft.sh/v1",
        "kind": "Space",
        "metadata": {
            "name": wish.name,
            "annotations": {key: text for key, text in annotations.items() if text},
        },
        "spec": {key: text for key, text in (("user", wish.user), ("team", wish.team)) if text},
    }
    try:
        api.in_cluster(cluster, "POST", f"{CLUSTER_API}/spaces", body)
    except ServerRefused as refused:
        if refused.reason == "AlreadyExists":
            if use_existing:
                return False
            raise Failure(
                f"a space or namespace {wish.name} exists already in cluster {cluster}; choose another name, "
                "or use it with --use-existing",
                exitcode.CONFLICT,
            ) from refused
        raise
    return True


def _exists(api: PlatformApi, cluster: str, name: str) -> bool:
    """Tell whether a space is there for the caller, who need not have the right to create any."""
    try:
        api.in_cluster(cluster, "GET", f"{CLUSTER_API}/spaces/{name}")
    except ServerRefused as refused:
        if refused.status in (403, 404):
            return False
        raise
    return True


def find(api: PlatformApi, name: str, cluster: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (cluster, space) for a name, searched in all clusters unless one is named.

    Raises: Failure NOT_FOUND, or USAGE when several clusters have such a space.
    """
    clusters = [api.cluster(cluster)] if cluster else api.clusters()
    found = []
    for candidate in clusters:
        home = candidate["metadata"]["name"]
        known = reachable(lambda chosen=home: api.spaces(chosen), alone=len(clusters) == 1)
        found += [(candidate, space) for space in known if space["metadata"]["name"] == name]
    return one(found, f"space {name}", cluster)


def reachable(fetch: Any, *, alone: bool) -> list[dict[str, Any]]:
    """Return what a cluster answers; when several are asked, one that cannot be reached counts as empty."""
    try:
        return list(fetch())
    except Failure as failure:
        if alone or failure.code not in (exitcode.UNREACHABLE, exitcode.FORBIDDEN):
            raise
        return []


def one(
    found: list[tuple[dict[str, Any], dict[str, Any]]], what: str, cluster: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the only match; raises a Failure that says what to do when there is none or more than one."""
    if len(found) == 1:
        return found[0]
    if not found:
        where = f"in cluster {cluster}" if cluster else "in any cluster you have access to"
        raise Failure(f"{what} was not found {where}", exitcode.NOT_FOUND)
    places = ", ".join(
        f"--cluster {home['metadata']['name']}"
        + (f" --space {item['metadata']['namespace']}" if item["metadata"].get("namespace") else "")
        for home, item in found
    )
    raise Failure(f"{what} exists more than once, choose one of: {places}", exitcode.USAGE)


def context(access: contexts.Access, name: str) -> contexts.Context:
    """Return the context of a space: the cluster's API with the space as the namespace."""
    return contexts.Context(
        contexts.space_context_name(name, access.cluster), contexts.cluster_server(access), name, access
    )
