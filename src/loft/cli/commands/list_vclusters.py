"""`loft list vclusters`."""

from __future__ import annotations

import click

from loft.cli import names, output, spaces
from loft.cli.app import Session
from loft.cli.commands.list_clusters import FORMS
from loft.cli.platform_api import PlatformApi, connect


def print_virtual_clusters(api: PlatformApi, form: str, cluster: str) -> None:
    """Print the virtual clusters that the caller may see in one or all clusters."""
    now = output.now()
    clusters = [cluster] if cluster else [item["metadata"]["name"] for item in api.clusters()]
    objects, rows = [], []
    for home in clusters:
        for item in spaces.reachable(lambda chosen=home: api.virtual_clusters(chosen), alone=len(clusters) == 1):
            metadata, status = item["metadata"], item.get("status") or {}
            created = output.age(metadata.get("creationTimestamp"), now)
            objects.append(item)
            rows.append(
                (
                    metadata["name"],
                    metadata["namespace"],
                    home,
                    str(status.get("phase") or "Pending"),
                    created,
                )
            )
    output.show(objects, ("Name", "Space", "Cluster", "Status", "Age"), rows, form)


@click.command()
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("-o", "--output", "form", type=FORMS, default="table", help="How to print.")
@click.pass_obj
def command(session: Session, /, cluster: str, form: str) -> None:
    """List the virtual clusters you have access to."""
    print_virtual_clusters(connect(session.state), form, cluster)
