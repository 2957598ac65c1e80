"""`loft list clusters`."""

from __future__ import annotations

import click

from loft.cli import output
from loft.cli.app import Session
from loft.cli.platform_api import PlatformApi, connect

FORMS = click.Choice(["table", "json", "yaml", "name"])


def print_clusters(api: PlatformApi, form: str) -> None:
    """Print the clusters that the caller may see."""
    clusters = api.clusters()
    now = output.now()
    rows = [(item["metadata"]["name"], output.age(item["metadata"].get("creationTimestamp"), now)) for item in clusters]
    output.show(clusters, ("Cluster", "Age"), rows, form)


@click.command()
@click.option("-o", "--output", "form", type=FORMS, default="table", help="How to print.")
@click.pass_obj
def command(session: Session, /, form: str) -> None:
    """List the clusters you have access to."""
    print_clusters(connect(session.state), form)
