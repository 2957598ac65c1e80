"""The application behind /auth, /version and /agent/v1. It answers on a unix socket that only our Envoy can reach."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from loft.kube.errors import ApiError
from loft.web.agents import Agents
from loft.web.answers import Refused, answer, refusal
from loft.web.login import Login

log = logging.getLogger(__name__)

STOP_S = 3
Handler = Callable[[Request], Awaitable[Response]]


def platform_app(login: Login, agents: Agents, *, version: str, instance: str, kube_version: str) -> Starlette:
    """Return the application; `instance` is a name of this installation that never changes."""
    major, minor = [*version.split("."), "0"][:2]
    facts = {
        "kind": "Version",
        "apiVersion": "authentication.loft.sh/v1",
        "version": f"v{version}",
        "major": major,
        "minor": minor,
        "instance": instance,
        "kubeVersion": kube_version,
        "newerVersion": "",
        "shouldUpgrade": False,
    }
    info = {
        "kind": "Info",
        "apiVersion": "authentication.loft.sh/v1",
        "methods": {"sso": {"enabled": False}, "password": {"enabled": True}},
    }

    async def show_version(_: Request) -> Response:
        return answer(facts)

    async def show_info(_: Request) -> Response:
        return answer(info)

    return Starlette(
        routes=[
            Route("/auth/password/login", _guarded(login), methods=["POST"]),
            Route("/auth/info", show_info, methods=["GET"]),
            Route("/version", show_version, methods=["GET"]),
            Route("/agent/v1/replica", _guarded(agents.replica), methods=["GET"]),
            Route("/agent/v1/certificates", _guarded(agents.certificates), methods=["POST"]),
            Route("/{path:path}", _guarded(_unknown), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
    )


async def _unknown(request: Request) -> Response:
    raise Refused(404, "NotFound", f"{request.url.path[:200]} is not served here")


def _guarded(handler: Handler) -> Handler:
    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as error:
            return refusal(error)
        except ApiError as error:
            log.warning("%s %s: %s", request.method, request.url.path, error)
            text = "the platform's own store does not answer; try again in a moment"
            return refusal(Refused(503, "ServiceUnavailable", text, 2.0))

    return guarded


class _Server(uvicorn.Server):
    """Signals belong to the process (loft.cmd), not to one of its listeners."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


async def serve(app: Starlette, path: Path) -> None:
    """Serve on a unix socket until cancelled; streams to agents are cut then."""
    path.unlink(missing_ok=True)
    config = uvicorn.Config(
        app,
        uds=str(path),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config)
    try:
        await server.serve()
    finally:
        server.should_exit = True
        path.unlink(missing_ok=True)
