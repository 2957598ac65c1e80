"""`loft use space`: a kube context whose namespace is a space."""

from __future__ import annotations

import click

from loft.cli import contexts, direct, names, spaces
from loft.cli.app import Session
from loft.cli.commands.list_spaces import print_spaces
from loft.cli.platform_api import connect


@click.command()
@click.argument("name", type=names.SPACE, required=False)
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("--print", "printed", is_flag=True, help="Print the kubeconfig instead of writing a context.")
@click.option("--disable-direct-cluster-endpoint", is_flag=True, help="Reach the cluster through the centre only.")
@click.pass_obj
def command(
    session: Session, name: str | None, cluster: str, printed: bool, disable_direct_cluster_endpoint: bool
) -> None:
    """Make a kube context for the space NAME; without NAME, list the spaces."""
    state, messages = session.state, session.messages
    api = connect(state)
    if name is None:
        print_spaces(api, "table", cluster)
        return
    home, _ = spaces.find(api, name, cluster)
    access = direct.way_to(session, api, home, no_direct=disable_direct_cluster_endpoint)
    target = spaces.context(access, name)
    if printed:
        click.echo(contexts.render(target, state), nl=False)
        return
    contexts.save(target, state, switch=True)
    messages.done(f"Successfully updated kube context to use space {name} in cluster {access.cluster}")
