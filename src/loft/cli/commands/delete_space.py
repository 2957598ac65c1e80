"""`loft delete space`."""

from __future__ import annotations

from typing import Any

import click

from loft.cli import contexts, kubeconfig, names, spaces, waiting
from loft.cli.app import Session
from loft.cli.platform_api import CLUSTER_API, connect


@click.command()
@click.argument("name", type=names.SPACE)
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("--delete-context/--no-delete-context", default=True, help="Delete the kube context too.")
@click.option("--wait", is_flag=True, help="Wait until the space is gone.")
@click.option("--timeout", type=names.SECONDS, default=120, show_default=True, help="Seconds to wait.")
@click.pass_obj
def command(session: Session, /, name: str, **given: Any) -> None:
    """Delete the space NAME with everything in it."""
    state, messages = session.state, session.messages
    if given["delete_context"]:
        kubeconfig.check()
    api = connect(state)
    home, _ = spaces.find(api, name, given["cluster"])
    cluster = home["metadata"]["name"]
    api.in_cluster(cluster, "DELETE", f"{CLUSTER_API}/spaces/{name}")
    messages.done(f"Successfully deleted space {name} in cluster {cluster}")
    if given["delete_context"] and contexts.forget(contexts.space_context_name(name, cluster), state):
        messages.done(f"Successfully deleted kube context for space {name}")
    if given["wait"]:
        waiting.until_gone(api, cluster, f"{CLUSTER_API}/spaces/{name}", float(given["timeout"]))
        messages.done("Space is deleted")
