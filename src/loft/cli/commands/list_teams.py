"""`loft list teams`."""

from __future__ import annotations

import click

from loft.cli import output
from loft.cli.app import Session
from loft.cli.platform_api import connect


@click.command()
@click.pass_obj
def command(session: Session) -> None:
    """List the teams you are a member of."""
    status = connect(session.state).self_().get("status") or {}
    teams = (status.get("user") or {}).get("teams") or []
    rows = [(team.get("name", ""), team.get("displayName", "")) for team in teams]
    print(output.table(("Name", "Display Name"), rows))
