"""`loft restore vcluster`: put a virtual cluster back to the state of a snapshot."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from loft.cli import names, places, store
from loft.cli.app import Session


@click.command()
@click.argument("name", type=names.VIRTUAL_CLUSTER)
@click.option("--from", "place", required=True, metavar="FILE|pvc://CLAIM/FILE", help="The snapshot.")
@store.located
@click.pass_obj
def command(session: Session, /, name: str, place: str, **given: Any) -> None:
    """Replace everything in the virtual cluster NAME by what a snapshot holds.

    What was changed after the snapshot is lost; pods that it does not know are ended.
    """
    source = places.parse(place)
    with store.reached(session, name, given) as reached, tempfile.TemporaryDirectory(prefix="loft-") as folder:
        path = Path(source.path)
        if source.claim:
            path = Path(folder) / "snapshot"
            reached.get(path, source.claim, source.path)
        session.messages.info(f"Restoring virtual cluster {name}...")
        found = reached.restore(path)
    taken = f"the snapshot of {found.metadata.taken} ({found.metadata.namespace}/{found.metadata.name})"
    session.messages.done(f"Virtual cluster {name} is restored from {taken}")
