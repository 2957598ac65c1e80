"""`loft use management`: a kube context for the platform's own objects (users, teams, clusters)."""

from __future__ import annotations

import click

from loft.cli import contexts
from loft.cli.app import Session
from loft.cli.platform_api import connect

NAME = "loft-management"


@click.command()
@click.option("--print", "printed", is_flag=True, help="Print the kubeconfig instead of writing a context.")
@click.pass_obj
def command(session: Session, /, printed: bool) -> None:
    """Make the kube context loft-management."""
    state, messages = session.state, session.messages
    connect(state).self_()
    access = contexts.Access(state.host, "", False, state.ca_data, state.insecure)
    target = contexts.Context(NAME, f"{state.host}/kubernetes/management", "", access)
    if printed:
        click.echo(contexts.render(target, state), nl=False)
        return
    contexts.save(target, state, switch=True)
    messages.done("Successfully updated kube context to use management")
