"""`loft vars cluster`."""

from __future__ import annotations

import click

from loft.cli import exitcode, kubeconfig
from loft.cli.failure import Failure


def cluster_of(context: str) -> str:
    """Return the cluster that a context name of ours speaks of, "" for any other context."""
    parts = context.split("_")
    if (parts[0] == "loft" and len(parts) in (2, 3)) or (parts[0] == "loft-vcluster" and len(parts) == 4):
        return parts[-1]
    return ""


@click.command()
def command() -> None:
    """Print the cluster of the current kube context."""
    current = kubeconfig.current_context()
    cluster = cluster_of(current)
    if not cluster:
        raise Failure(f"the current kube context {current!r} is not one of loft", exitcode.NOT_FOUND)
    click.echo(cluster, nl=False)
