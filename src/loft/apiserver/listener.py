"""The TLS listener: uvicorn, told who is at the other end of each connection.

uvicorn does not put the client certificate into the ASGI scope, so a protocol class of ours reads it from the
transport when a connection is made and adds the front proxy's authority to the scope's state.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Protocol

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from loft.apiserver.trust import Trust

REQUESTS_MAX = 2000
STOP_S = 5
AUTHORITY = "loft_authority"
"""Key in the scope's state: the Authority of the connection, or None."""


def open_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises: OSError naming the address when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that say they are TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


async def serve(app: Application, listening: socket.socket, trust: Trust) -> None:
    """Serve until cancelled; then watches are ended and other requests get STOP_S."""
    config = uvicorn.Config(
        app,
        http=_protocol(trust),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=REQUESTS_MAX,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    config.load()
    config.ssl = trust.listener_context
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(serving)
    finally:
        app.stop()
        server.should_exit = True
        # A cancelled caller still waits for the orderly end; uvicorn itself bounds it by STOP_S.
        with contextlib.suppress(asyncio.CancelledError):
            await serving


class Application(Protocol):
    """An ASGI application that can be told to end what goes on for ever."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""

    def stop(self) -> None:
        """End all streams."""


class _Server(uvicorn.Server):
    """Signals belong to the process (loft.cmd), not to one of its listeners."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


def _protocol(trust: Trust) -> type[asyncio.Protocol]:
    class Identified(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            tls = transport.get_extra_info("ssl_object")
            certificate = tls.getpeercert(binary_form=True) if tls else None
            self.app_state = {**self.app_state, AUTHORITY: trust.authority_of(certificate)}

    return Identified
