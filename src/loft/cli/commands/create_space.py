"""`loft create space`: a namespace of one's own in a connected cluster."""

from __future__ import annotations

from typing import Any

import click

from loft.cli import contexts, direct, exitcode, kubeconfig, names, spaces
from loft.cli.app import Session
from loft.cli.failure import Failure
from loft.cli.platform_api import connect


@click.command()
@click.argument("name", type=names.SPACE)
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("--display-name", default="", help="Name to show in the UI.")
@click.option("--description", default="", help="Description to show in the UI.")
@click.option("--user", default="", help="User that owns the space (default: you).")
@click.option("--team", default="", help="Team that owns the space.")
@click.option("--use-existing", is_flag=True, help="Use the space if it exists already.")
@click.option("--create-context/--no-create-context", default=True, help="Make a kube context for the space.")
@click.option("--switch-context/--no-switch-context", default=True, help="Switch to the new kube context.")
@click.option("--disable-direct-cluster-endpoint", is_flag=True, help="Reach the cluster through the centre only.")
@click.pass_obj
def command(session: Session, /, name: str, **given: Any) -> None:
    """Create the space NAME."""
    state, messages = session.state, session.messages
    if given["user"] and given["team"]:
        raise Failure("give --user or --team, not both", exitcode.USAGE)
    if given["create_context"]:
        kubeconfig.check()
    api = connect(state)
    spaces.check_owner(api, given["user"], given["team"])
    cluster = api.choose_cluster(given["cluster"])
    cluster_name = cluster["metadata"]["name"]
    wish = spaces.Wish(name, given["display_name"], given["description"], given["user"], given["team"])
    if spaces.create(api, cluster_name, wish, use_existing=given["use_existing"]):
        messages.done(f"Successfully created the space {name} in cluster {cluster_name}")
    else:
        messages.info(f"Using the existing space {name} in cluster {cluster_name}")
    if given["create_context"]:
        access = direct.way_to(session, api, cluster, no_direct=given["disable_direct_cluster_endpoint"])
        contexts.save(spaces.context(access, name), state, switch=given["switch_context"])
        if given["switch_context"]:
            messages.done(f"Successfully updated kube context to use space {name} in cluster {cluster_name}")
