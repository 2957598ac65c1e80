"""`loft delete vcluster`."""

from __future__ import annotations

from typing import Any

import click

from loft.cli import contexts, kubeconfig, names, virtual_clusters, waiting
from loft.cli.app import Session
from loft.cli.platform_api import CLUSTER_API, connect


@click.command()
@click.argument("name", type=names.VIRTUAL_CLUSTER)
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("--space", type=names.SPACE, default="", help="The space to use.")
@click.option("--delete-context/--no-delete-context", default=True, help="Delete the kube context too.")
@click.option("--delete-space", is_flag=True, help="Delete the space too.")
@click.option("--wait", is_flag=True, help="Wait until it is gone.")
@click.option("--timeout", type=names.SECONDS, default=120, show_default=True, help="Seconds to wait.")
@click.pass_obj
def command(session: Session, /, name: str, **given: Any) -> None:
    """Delete the virtual cluster NAME with everything in it."""
    state, messages = session.state, session.messages
    if given["delete_context"]:
        kubeconfig.check()
    api = connect(state)
    home, found = virtual_clusters.find(api, name, given["cluster"], given["space"])
    cluster, space = home["metadata"]["name"], found["metadata"]["namespace"]
    path = f"{CLUSTER_API}/namespaces/{space}/virtualclusters/{name}"
    api.in_cluster(cluster, "DELETE", path)
    messages.done(f"Successfully deleted virtual cluster {name} in space {space} in cluster {cluster}")
    context = contexts.virtual_cluster_context_name(name, space, cluster)
    if given["delete_context"] and contexts.forget(context, state):
        messages.done(f"Successfully deleted kube context for virtual cluster {name}")
    if given["delete_space"]:
        api.in_cluster(cluster, "DELETE", f"{CLUSTER_API}/spaces/{space}")
        messages.done(f"Successfully deleted space {space}")
    if given["wait"]:
        waiting.until_gone(api, cluster, path, float(given["timeout"]))
        messages.done("Virtual cluster is deleted")
