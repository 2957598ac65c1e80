"""Looks who answers at an address: a TLS handshake and nothing else, so no credential and no request is ever sent."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

HANDSHAKE_S = 5.0


async def proves(host: str, port: int, ca: bytes, *, server_name: str = "") -> bool:
    """Tell whether a certificate of this authority (PEM) for `server_name` (default: the host) is shown there."""
    context = ssl.create_default_context(cadata=ca.decode())
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name or host)
    except (OSError, ValueError, TimeoutError):
        return False
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(HANDSHAKE_S):
            await writer.wait_closed()
    return True
