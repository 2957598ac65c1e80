"""Contexts for clusters, spaces and virtual clusters: their names, their servers, their credentials.

Names contain `_`, which no Kubernetes name can, so they can be read back. Source: the context names of
the 2.x command line.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from loft.api.cluster import DIRECT_ENDPOINT, DIRECT_ENDPOINT_CA, DIRECT_ENDPOINT_INSECURE
from loft.cli import kubeconfig
from loft.cli.state import State


@dataclass(frozen=True)
class Access:
    """How one context reaches its API: the centre or a direct cluster endpoint."""

    base: str
    """https URL without a path."""
    cluster: str
    direct: bool
    ca_data: str
    insecure: bool


@dataclass(frozen=True)
class Context:
    """A context to be written: one name for its context, cluster and user entries."""

    name: str
    server: str
    namespace: str
    access: Access


def cluster_context_name(cluster: str) -> str:
    """Return the context name of a connected cluster."""
    return f"loft_{cluster}"


def space_context_name(space: str, cluster: str) -> str:
    """Return the context name of a space."""
    return f"loft_{space}_{cluster}"


def virtual_cluster_context_name(name: str, space: str, cluster: str) -> str:
    """Return the context name of a virtual cluster."""
    return f"loft-vcluster_{name}_{space}_{cluster}"


def access_to(cluster: dict[str, Any], state: State, *, no_direct: bool) -> Access:
    """Return how to reach a cluster: its direct endpoint if it has one and that is not turned off."""
    name = cluster["metadata"]["name"]
    annotations = cluster["metadata"].get("annotations") or {}
    endpoint = annotations.get(DIRECT_ENDPOINT, "").strip().rstrip("/")
    if no_direct or not endpoint:
        return Access(state.host, name, False, state.ca_data, state.insecure)
    base = endpoint if endpoint.startswith("https://") else f"https://{endpoint}"
    insecure = annotations.get(DIRECT_ENDPOINT_INSECURE) == "true"
    return Access(base, name, True, annotations.get(DIRECT_ENDPOINT_CA, ""), insecure)


def cluster_server(access: Access) -> str:
    """Return the API URL of a connected cluster; a direct endpoint knows only its own."""
    path = "/kubernetes/cluster" if access.direct else f"/kubernetes/cluster/{quote(access.cluster)}"
    return access.base + path


def virtual_cluster_server(access: Access, space: str, name: str) -> str:
    """Return the API URL of a virtual cluster."""
    middle = "" if access.direct else f"{quote(access.cluster)}/"
    return f"{access.base}/kubernetes/virtualcluster/{middle}{quote(space)}/{quote(name)}"


def command_path() -> str:
    """Return the absolute path of `loft` for exec plugins, which run without our PATH."""
    started = sys.argv[0]
    if os.path.basename(started) == "loft" and os.path.sep in started:
        return os.path.abspath(started)
    return shutil.which("loft") or os.path.abspath(started)


def apply(document: kubeconfig.Document, context: Context, command: str, config: str) -> None:
    """Put the context with its cluster and user into a kubeconfig document.

    Args:
        document: the kubeconfig, changed in place.
        context: what to write.
        command: absolute path of `loft`.
        config: absolute path of the CLI's state file.
    """
    cluster: dict[str, Any] = {"server": context.server}
    if context.access.insecure:
        cluster["insecure-skip-tls-verify"] = True
    elif context.access.ca_data:
        cluster["certificate-authority-data"] = context.access.ca_data
    arguments = ["token", "--silent", "--config", config]
    if context.access.direct:
        arguments += ["--direct-cluster-endpoint", "--cluster", context.access.cluster]
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": command,
            "args": arguments,
            "env": None,
            "interactiveMode": "Never",
            "provideClusterInfo": False,
        }
    }
    entry: dict[str, Any] = {"cluster": context.name, "user": context.name}
    if context.namespace:
        entry["namespace"] = context.namespace
    kubeconfig.put(document, "clusters", context.name, "cluster", cluster)
    kubeconfig.put(document, "users", context.name, "user", user)
    kubeconfig.put(document, "contexts", context.name, "context", entry)


def render(context: Context, state: State) -> str:
    """Return a kubeconfig with this one context, for `--print`."""
    document = kubeconfig.empty()
    apply(document, context, command_path(), state.path)
    document["current-context"] = context.name
    return kubeconfig.dump(document)


def save(context: Context, state: State, *, switch: bool) -> None:
    """Write the context into the user's kubeconfig and make it current if `switch`.

    The context that was current before is remembered, so that deleting ours can go back to it.
    """
    before = kubeconfig.current_context()
    if switch and before and not before.startswith(("loft_", "loft-vcluster_")):
        state.values["previousContext"] = before
        state.save()

    def change(document: kubeconfig.Document) -> None:
        apply(document, context, command_path(), state.path)
        if switch:
            document["current-context"] = context.name

    kubeconfig.edit(change, name=context.name, sets_current=switch)


def forget(name: str, state: State) -> bool:
    """Remove a context of ours; when it was current, go back to the one before, else to none.

    Returns: whether there was such a context.
    """
    if not kubeconfig.exists(name):
        return False
    was_current = kubeconfig.current_context() == name
    previous = state.text("previousContext")
    fallback = previous if previous and previous != name and kubeconfig.exists(previous) else ""
    removed = False

    def change(document: kubeconfig.Document) -> None:
        nonlocal removed
        removed = kubeconfig.remove(document, name)
        if was_current:
            document["current-context"] = fallback

    kubeconfig.edit(change, name=name, sets_current=was_current)
    return removed
