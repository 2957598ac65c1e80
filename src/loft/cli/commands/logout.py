"""`loft logout`: revoke the login's key as far as possible and forget it."""

from __future__ import annotations

import click

from loft.cli.app import Session
from loft.cli.failure import Failure, Refused
from loft.cli.platform_api import connect


@click.command()
@click.pass_obj
def command(session: Session) -> None:
    """Forget the login; the key is deleted at the instance when that can be reached."""
    state, messages = session.state, session.messages
    if not state.access_key:
        messages.info("Not logged in")
        return
    try:
        api = connect(state)
        key = (api.self_().get("status") or {}).get("accessKey")
        if key:
            api.management("DELETE", f"ownedaccesskeys/{key}")
    except Refused:
        pass  # it works no more, so there is nothing to delete
    except Failure as failure:
        messages.warn(f"the key could not be deleted at {state.host}: {failure.message}")
    for name in ("accesskey", "directClusterEndpointTokens", "directClusterEndpointToken"):
        state.values.pop(name, None)
    state.save()
    messages.done(f"Logged out of {state.host}")
