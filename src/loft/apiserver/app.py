"""The ASGI application: discovery, OpenAPI, health, and the resources of the declared groups.

Order for every request to a resource: who (front proxy's certificate, then headers), what (URL), may they
(policy, always), then the store. What a store returns goes out in the form the client accepts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from loft.apiserver import discovery, openapi
from loft.apiserver.caller import Caller, caller_from
from loft.apiserver.declaration import Group
from loft.apiserver.listener import AUTHORITY
from loft.apiserver.negotiate import accepts_json, media, wants_aggregated_discovery
from loft.apiserver.refusal import bad_request, not_acceptable, status_of
from loft.apiserver.serving import Resources, encode, respond
from loft.apiserver.trust import Authority
from loft.kube.errors import ApiError, Unauthorized

log = logging.getLogger(__name__)

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
PATH_LENGTH_MAX = 2048
Ready = Callable[[], Awaitable[str]]


async def always_ready() -> str:
    """Say that nothing is missing."""
    return ""


class ApiServer:
    """An ASGI application that serves API groups."""

    def __init__(
        self,
        groups: tuple[Group, ...],
        *,
        version: str,
        ready: Ready = always_ready,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Serve `groups`; `ready` returns what is missing before requests can be served, "" for nothing."""
        self._groups = {(group.name, group.version): group for group in groups}
        self._ready = ready
        self._version = version
        self._resources = Resources(now)
        self._documents = _documents(groups, version)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End all watches, in the orderly way of a server whose time is over; clients come again elsewhere."""
        self._stopping.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ApiError as error:
            response = failure(error)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            response = failure(ApiError(500, "InternalError", "an internal error occurred; see the log of the server"))
        if isinstance(response, StreamingResponse):
            await self._stream(response, scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _stream(self, response: StreamingResponse, scope: Any, receive: Any, send: Any) -> None:
        streaming = asyncio.create_task(response(scope, receive, send))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((streaming, stopping), return_when=asyncio.FIRST_COMPLETED)
            ended = streaming.done()
        finally:
            streaming.cancel()
            stopping.cancel()
            await asyncio.gather(streaming, stopping, return_exceptions=True)
        if not ended:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.rstrip("/") or "/"
        if len(path) > PATH_LENGTH_MAX:
            raise bad_request("the path is too long")
        if path in ("/healthz", "/livez", "/readyz"):
            return await self._health(path)
        if path == "/version":
            return respond(self._version_info())
        caller = identify(request)
        if (document := self._document(request, path)) is not None:
            return document
        parts = path.split("/")[1:]
        if parts[0] == "apis" and len(parts) > 3 and (group := self._groups.get((parts[1], parts[2]))):
            return await self._resources.answer(request, caller, group, parts[3:])
        raise ApiError(404, "NotFound", "the server could not find the requested resource")

    def _document(self, request: Request, path: str) -> Response | None:
        found = self._documents.get(path)
        if found is None:
            return None
        if request.method not in ("GET", "HEAD"):
            raise ApiError(405, "MethodNotAllowed", f"{request.method} is not supported on {path}")
        accept = request.headers.get("accept", "")
        if path == "/openapi/v2" and any(entry.type == openapi.V2_PROTOBUF for entry in media(accept)):
            content = openapi.v2_protobuf(self._version)
            return Response(content, media_type=openapi.V2_PROTOBUF_TYPE, headers={"Vary": "Accept"})
        plain, aggregated = found
        if aggregated is not None and wants_aggregated_discovery(accept):
            return Response(aggregated, media_type=AGGREGATED, headers={"Vary": "Accept"})
        if not accepts_json(accept) and aggregated is None:
            raise not_acceptable(accept[:200])
        return Response(plain, media_type="application/json", headers={"Vary": "Accept"})

    async def _health(self, path: str) -> Response:
        missing = await self._ready() if path == "/readyz" else ""
        return Response(missing or "ok", status_code=503 if missing else 200, media_type="text/plain")

    def _version_info(self) -> dict[str, str]:
        major, minor = [*self._version.split("."), "0"][:2]
        return {"major": major, "minor": minor, "gitVersion": f"v{self._version}", "platform": "linux"}


def identify(request: Request) -> Caller:
    """Return who calls, on the word of a front proxy. Raises: Unauthorized."""
    authority: Authority | None = (request.scope.get("state") or {}).get(AUTHORITY)
    if authority is None:
        raise Unauthorized(
            401, "Unauthorized", "requests come here through the gateway or the API server's aggregation layer only"
        )
    return caller_from(request.scope["headers"], authority.headers, ours_only=authority.ours_only)


def failure(error: ApiError) -> Response:
    """Return an error as a Status."""
    status = status_of(error)
    headers = {"Retry-After": str(int(error.retry_after_s))} if error.retry_after_s else {}
    return Response(encode(status), status_code=status["code"], media_type="application/json", headers=headers)


def _documents(groups: tuple[Group, ...], version: str) -> dict[str, tuple[bytes, bytes | None]]:
    """Return what is fixed for the life of the server: path -> (plain, aggregated discovery or None)."""
    documents: dict[str, tuple[bytes, bytes | None]] = {
        "/api": (encode(discovery.api_versions()), encode(discovery.aggregated(()))),
        "/apis": (encode(discovery.group_list(groups)), encode(discovery.aggregated(groups))),
        "/openapi/v2": (encode(openapi.v2(groups, version)), None),
        "/openapi/v3": (encode(openapi.v3_index(groups)), None),
    }
    for group in groups:
        path = f"/apis/{group.name}"
        documents[path] = encode(discovery.group(group)), None
        documents[f"{path}/{group.version}"] = encode(discovery.resource_list(group)), None
        document = msgspec.json.encode(openapi.v3(group), order="deterministic")
        documents[f"/openapi/v3{path}/{group.version}"] = document, None
    return documents
