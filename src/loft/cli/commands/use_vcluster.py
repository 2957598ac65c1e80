"""`loft use vcluster`: a kube context for a virtual cluster."""

from __future__ import annotations

from typing import Any

import click

from loft.cli import contexts, direct, names, virtual_clusters
from loft.cli.app import Session
from loft.cli.commands.list_vclusters import print_virtual_clusters
from loft.cli.platform_api import connect


@click.command()
@click.argument("name", type=names.VIRTUAL_CLUSTER, required=False)
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("--space", type=names.SPACE, default="", help="The space to use.")
@click.option("--print", "printed", is_flag=True, help="Print the kubeconfig instead of writing a context.")
@click.option("--disable-direct-cluster-endpoint", is_flag=True, help="Reach the cluster through the centre only.")
@click.pass_obj
def command(session: Session, /, name: str | None, **given: Any) -> None:
    """Make a kube context for the virtual cluster NAME; without NAME, list the virtual clusters."""
    state, messages = session.state, session.messages
    api = connect(state)
    if name is None:
        print_virtual_clusters(api, "table", given["cluster"])
        return
    home, found = virtual_clusters.find(api, name, given["cluster"], given["space"])
    access = direct.way_to(session, api, home, no_direct=given["disable_direct_cluster_endpoint"])
    space = found["metadata"]["namespace"]
    target = virtual_clusters.context(access, space, name)
    if given["printed"]:
        click.echo(contexts.render(target, state), nl=False)
        return
    contexts.save(target, state, switch=True)
    messages.done(
        f"Successfully updated kube context to use virtual cluster {name} in space {space} and cluster {access.cluster}"
    )
