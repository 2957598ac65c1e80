"""`loft snapshot vcluster`: the whole state of a virtual cluster in one file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from loft.cli import names, places, store
from loft.cli.app import Session


@click.command()
@click.argument("name", type=names.VIRTUAL_CLUSTER)
@click.option("--to", "place", required=True, metavar="FILE|pvc://CLAIM/FILE", help="Where the snapshot is written.")
@store.located
@click.pass_obj
def command(session: Session, /, name: str, place: str, **given: Any) -> None:
    """Take a snapshot of the virtual cluster NAME; it goes on meanwhile.

    Volumes of its pods are not part of it.
    """
    target = places.parse(place)
    with store.reached(session, name, given) as reached:
        if target.claim:
            with tempfile.TemporaryDirectory(prefix="loft-") as folder:
                path = Path(folder) / "snapshot"
                found = reached.save(path)
                reached.put(path, target.claim, target.path)
        else:
            found = reached.save(Path(target.path))
    session.messages.done(f"Snapshot of virtual cluster {name} written to {place} ({found.size >> 10} KiB)")
