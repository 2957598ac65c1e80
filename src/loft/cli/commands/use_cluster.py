"""`loft use cluster`: a kube context for a connected cluster."""

from __future__ import annotations

import click

from loft.cli import contexts, direct, names
from loft.cli.app import Session
from loft.cli.commands.list_clusters import print_clusters
from loft.cli.platform_api import connect


@click.command()
@click.argument("name", type=names.CLUSTER, required=False)
@click.option("--print", "printed", is_flag=True, help="Print the kubeconfig instead of writing a context.")
@click.option("--disable-direct-cluster-endpoint", is_flag=True, help="Reach the cluster through the centre only.")
@click.pass_obj
def command(session: Session, /, name: str | None, printed: bool, disable_direct_cluster_endpoint: bool) -> None:
    """Make a kube context for the cluster NAME; without NAME, list the clusters."""
    state, messages = session.state, session.messages
    api = connect(state)
    if name is None:
        print_clusters(api, "table")
        return
    access = direct.way_to(session, api, api.cluster(name), no_direct=disable_direct_cluster_endpoint)
    target = contexts.Context(contexts.cluster_context_name(name), contexts.cluster_server(access), "", access)
    if printed:
        click.echo(contexts.render(target, state), nl=False)
        return
    contexts.save(target, state, switch=True)
    messages.done(f"Successfully updated kube context to use cluster {name}")
