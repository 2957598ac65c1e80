"""`loft stop`: stop the clusters of this machine and keep their data."""

from __future__ import annotations

import click

from loft.cli import local
from loft.cli.app import Session


@click.command()
@click.option("--name", default="", help="Only this cluster (default: all).")
@click.pass_obj
def command(session: Session, /, name: str) -> None:
    """Stop everything; `loft start` brings it back as it was."""
    local.need_root()
    from loft.embedded import run

    for layout in local.chosen(name):
        session.messages.info(f"Stopping cluster {layout.name}...")
        with local.failures():
            run.stop(layout)
        session.messages.done(f"Stopped cluster {layout.name}")
