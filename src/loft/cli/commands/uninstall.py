"""`loft uninstall`: remove the clusters of this machine with their data."""

from __future__ import annotations

import sys

import click

from loft.cli import exitcode, local
from loft.cli.app import Session
from loft.cli.failure import Failure


@click.command()
@click.option("--name", default="", help="Only this cluster (default: all).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(session: Session, /, name: str, yes: bool) -> None:
    """Remove the platform with all spaces, virtual clusters and volumes; built binaries stay in the cache."""
    local.need_root()
    from loft.embedded import run

    layouts = local.chosen(name)
    if not layouts:
        session.messages.info("Nothing is installed on this machine")
        return
    names = ", ".join(layout.name for layout in layouts)
    if not yes:
        if not sys.stdin.isatty():
            raise Failure(f"this removes {names} with all data; say so with --yes", exitcode.USAGE)
        click.confirm(f"Remove {names} with all spaces, virtual clusters and volumes?", abort=True, err=True)
    # Named clusters first: they reach the outside through the main one's devices.
    for layout in sorted(layouts, key=lambda item: -item.index):
        session.messages.info(f"Removing cluster {layout.name}...")
        with local.failures():
            run.uninstall(layout)
        session.messages.done(f"Removed cluster {layout.name}")
