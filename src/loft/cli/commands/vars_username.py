"""`loft vars username`."""

from __future__ import annotations

import click

from loft.cli.app import Session
from loft.cli.failure import Failure
from loft.cli.platform_api import connect


@click.command()
@click.pass_obj
def command(session: Session) -> None:
    """Print the name of the user who is logged in."""
    user = (connect(session.state).self_().get("status") or {}).get("user")
    if not user:
        raise Failure("the login belongs to a team, not to a user")
    click.echo(user["username"], nl=False)
