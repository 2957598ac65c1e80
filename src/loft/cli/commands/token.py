"""`loft token` in the command tree, for its help; the work is in `loft.cli.token`, reached without this file."""

from __future__ import annotations

import sys

import click

from loft.cli.app import Session
from loft.cli.token import run


@click.command()
@click.option("--direct-cluster-endpoint", is_flag=True, help="Token for the direct endpoint of a cluster.")
@click.option("--cluster", default="", help="The cluster that the direct endpoint belongs to.")
@click.pass_obj
def command(session: Session, /, direct_cluster_endpoint: bool, cluster: str) -> None:
    """Print the credential for kubectl (an ExecCredential)."""
    arguments = ["--config", session.state.path]
    if direct_cluster_endpoint:
        arguments += ["--direct-cluster-endpoint", "--cluster", cluster] if cluster else ["--direct-cluster-endpoint"]
    sys.exit(run(arguments))
