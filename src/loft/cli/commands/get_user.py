"""`loft get user`."""

from __future__ import annotations

import click

from loft.cli import output
from loft.cli.app import Session
from loft.cli.failure import Failure
from loft.cli.platform_api import connect


@click.command()
@click.pass_obj
def command(session: Session) -> None:
    """Show the user who is logged in."""
    user = (connect(session.state).self_().get("status") or {}).get("user")
    if not user:
        raise Failure("the login belongs to a team, not to a user")
    row = tuple(str(user.get(field) or "") for field in ("username", "name", "displayName", "email"))
    print(output.table(("Username", "Kubernetes Name", "Display Name", "Email"), [row]))
