"""The pod's own endpoints on port 8080: /livez, /readyz and /metrics (Prometheus text)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from loft.hypervisor.http1 import Exchange, accept

PORT = 8080
CHECK_S = 2.0


class Health:
    """Answers probes. `check` returns "" when the virtual cluster can be used, else what is missing."""

    def __init__(self, check: Callable[[], Awaitable[str]], figures: Callable[[], Mapping[str, float]]) -> None:
        self._check = check
        self._figures = figures

    async def run(self, port: int = PORT, address: str = "0.0.0.0") -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(accept(self._answer), address, port)
        async with server:
            await server.serve_forever()

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.request.path
        if path == "/livez":
            await exchange.respond(200, b"ok")
        elif path == "/readyz":
            try:
                async with asyncio.timeout(CHECK_S):
                    missing = await self._check()
            except TimeoutError:
                missing = f"no answer within {CHECK_S:.0f} s"
            await exchange.respond(503 if missing else 200, missing.encode() or b"ok")
        elif path == "/metrics":
            await exchange.respond(200, _text(self._figures()), "text/plain; version=0.0.4")
        else:
            await exchange.respond(404, b"not found")


def _text(figures: Mapping[str, float]) -> bytes:
    return "".join(f"{name} {value:g}\n" for name, value in sorted(figures.items())).encode()
