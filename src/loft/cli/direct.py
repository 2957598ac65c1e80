"""Which way a context takes to a cluster: its direct endpoint where that can be used from here, else the centre."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.parse
from typing import Any

from loft.cli import contexts, token
from loft.cli.app import Session
from loft.cli.contexts import Access
from loft.cli.platform_api import PlatformApi
from loft.cli.transport import verify_context

HANDSHAKE_S = 5.0
PATIENCE_S = 8.0
"""So long after the annotation is set the centre may need to learn by which authority the endpoint proves itself."""
PAUSE_S = 0.5


def way_to(session: Session, api: PlatformApi, cluster: dict[str, Any], *, no_direct: bool) -> Access:
    """Return how to reach a cluster, and tell the user when it is not by way of the centre.

    The credential for a direct endpoint is fetched at once, so that the context works when the centre does not.
    Raises: Failure.
    """
    state, messages = session.state, session.messages
    access = contexts.access_to(cluster, state, no_direct=no_direct)
    if not access.direct:
        return access
    problem = problem_of(access)
    deadline = time.monotonic() + PATIENCE_S
    while isinstance(problem, ssl.SSLCertVerificationError) and not access.ca_data and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
        access = contexts.access_to(api.cluster(access.cluster), state, no_direct=no_direct)
        problem = problem_of(access)
    if problem is not None:
        reason = getattr(problem, "verify_message", "") or problem.strerror or str(problem)
        messages.warn(
            f"Direct cluster endpoint at {access.base} cannot be used ({reason}); using the central instance instead"
        )
        return contexts.access_to(cluster, state, no_direct=True)
    token.direct_token(state, access.cluster, time.time())
    messages.info(f"Using direct cluster endpoint at {access.base}")
    return access


def problem_of(access: Access) -> OSError | None:
    """Return why the endpoint cannot be used from here, by a TLS handshake; None when it can."""
    if not access.direct:
        return None
    parts = urllib.parse.urlsplit(access.base)
    context = verify_context(access.ca_data, access.insecure)
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=HANDSHAKE_S) as raw,
            context.wrap_socket(raw, server_hostname=parts.hostname),
        ):
            return None
    except OSError as error:
        return error
