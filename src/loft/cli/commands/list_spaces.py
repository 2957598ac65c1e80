"""`loft list spaces`."""

from __future__ import annotations

import click

from loft.cli import names, output, spaces
from loft.cli.app import Session
from loft.cli.commands.list_clusters import FORMS
from loft.cli.platform_api import PlatformApi, connect


def print_spaces(api: PlatformApi, form: str, cluster: str) -> None:
    """Print the spaces that the caller may see in one or all clusters."""
    now = output.now()
    clusters = [cluster] if cluster else [item["metadata"]["name"] for item in api.clusters()]
    objects, rows = [], []
    for home in clusters:
        for item in spaces.reachable(lambda chosen=home: api.spaces(chosen), alone=len(clusters) == 1):
            annotations = item["metadata"].get("annotations") or {}
            sleeping = "true" if "sleepmode.loft.sh/sleeping-since" in annotations else "false"
            status = str((item.get("status") or {}).get("phase") or "")
            created = output.age(item["metadata"].get("creationTimestamp"), now)
            objects.append(item)
            rows.append((item["metadata"]["name"], home, sleeping, status, created))
    output.show(objects, ("Name", "Cluster", "Sleeping", "Status", "Age"), rows, form)


@click.command()
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("-o", "--output", "form", type=FORMS, default="table", help="How to print.")
@click.pass_obj
def command(session: Session, /, cluster: str, form: str) -> None:
    """List the spaces you have access to."""
    print_spaces(connect(session.state), form, cluster)
