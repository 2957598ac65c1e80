"""The client of an API server: requests, lists, watches, streams; the only place that opens connections to one.

Guarantees: every wait has an end (connect, headers, silence on a watch); every failure is an ApiError.
It never repeats a request: only the caller knows whether that is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from loft.core.resource import Resource
from loft.kube import request as requests
from loft.kube.config import Endpoint
from loft.kube.credential import Credential, tls_context
from loft.kube.errors import ApiError, Gone, Unavailable, error_from
from loft.kube.request import DEFAULT_PATCH, PatchOptions, Request
from loft.kube.upgrade import Upgraded, open_upgrade

CONNECT_S = 10.0
ANSWER_S = 60.0
WATCH_TIMEOUT_S = 290
SILENCE_S = 330.0
"""A watch ends at the server after WATCH_TIMEOUT_S; silence for longer means the connection is dead."""
LINE_BYTES_MAX = 8 * 1024 * 1024
"""One watch event; API servers store at most about 1.5 MiB (etcd's limit)."""

_decode = msgspec.json.Decoder().decode


class ObjectList(msgspec.Struct):
    """A whole list and the version at which it was true."""

    items: list[dict[str, Any]]
    resource_version: str


class WatchEvent(msgspec.Struct):
    """ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: dict[str, Any]


class Client:
    """One API server with one credential; use as an async context manager."""

    def __init__(self, endpoint: Endpoint, *, user_agent: str = "loft", connections: int = 100) -> None:
        self.endpoint = endpoint
        self._credential = Credential(endpoint)
        self._tls = tls_context(endpoint) if endpoint.server.startswith("https://") else None
        self._user_agent = user_agent
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=self._tls or False, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            read_bufsize=LINE_BYTES_MAX,
            auto_decompress=True,
            headers={"User-Agent": self._user_agent},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()
            # aiohttp closes TLS transports in the next turns of the loop.
            await asyncio.sleep(0)

    async def _send(self, request: Request, *, answer_s: float = ANSWER_S) -> aiohttp.ClientResponse:
        assert self._session, "use the client as a context manager"
        headers = [("Accept", "application/json"), *(await self._credential.headers()).items()]
        headers += [("Impersonate-Group", group) for group in self.endpoint.impersonate_groups]
        if request.body is not None:
            headers.append(("Content-Type", request.content_type))
        try:
            async with asyncio.timeout(answer_s):
                answer = await self._session.request(
                    request.method,
                    self.endpoint.server + request.target,
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=self.endpoint.tls_server_name or None,
                )
        except TimeoutError as error:
            raise Unavailable(0, "Timeout", f"{self.endpoint.server} did not answer in {answer_s:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(0, "Unreachable", f"{self.endpoint.server} cannot be reached: {error}") from error
        if answer.status >= 300:
            async with answer:
                raise error_from(answer.status, await _read(answer), answer.headers)
        return answer

    async def raw(self, request: Request) -> bytes:
        """Send a request and return the body of the answer. Raises: ApiError."""
        answer = await self._send(request)
        async with answer:
            return await _read(answer)

    async def call(self, request: Request) -> Any:
        """Send a request and return the decoded answer. Raises: ApiError."""
        body = await self.raw(request)
        try:
            return _decode(body) if body else None
        except msgspec.DecodeError as error:
            raise ApiError(0, "", f"{request.path}: the answer is not JSON: {error}") from error

    async def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any]:
        """Read one object. Raises: NotFound, ApiError."""
        return dict(await self.call(requests.get(resource, name, namespace)))

    async def find(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
        """Read one object, None when it does not exist. Raises: ApiError."""
        try:
            return await self.get(resource, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Read a whole list page by page; each item has its apiVersion and kind.

        Raises: Gone when the pages outlived the server's history (list again), ApiError.
        """
        items: list[dict[str, Any]] = []
        more = ""
        while True:
            page = await self.call(
                requests.list_(
                    resource, namespace, label_selector=label_selector, field_selector=field_selector, continue_=more
                )
            )
            kind = str(page.get("kind", "")).removesuffix("List") or resource.kind
            for item in page.get("items") or []:
                item.setdefault("apiVersion", page.get("apiVersion", resource.api_version))
                item.setdefault("kind", kind)
                items.append(item)
            metadata = page.get("metadata") or {}
            more = metadata.get("continue") or ""
            if not more:
                return ObjectList(items, str(metadata.get("resourceVersion") or ""))

    async def create(self, resource: Resource, body: dict[str, Any], namespace: str = "") -> dict[str, Any]:
        """Create an object and return it as stored. Raises: AlreadyExists, Invalid, ApiError."""
        return dict(await self.call(requests.create(resource, body, namespace)))

    async def update(self, resource: Resource, body: dict[str, Any], *, subresource: str = "") -> dict[str, Any]:
        """Replace an object. Raises: Conflict, ApiError."""
        return dict(await self.call(requests.update(resource, body, subresource)))

    async def apply(
        self, resource: Resource, body: dict[str, Any], *, manager: str, force: bool = True, subresource: str = ""
    ) -> dict[str, Any]:
        """Server-side apply. Raises: Conflict when not forced and another manager owns a field, ApiError."""
        request = requests.apply(resource, body, manager=manager, force=force, subresource=subresource)
        return dict(await self.call(request))

    async def patch(
        self, resource: Resource, name: str, change: Any, namespace: str = "", options: PatchOptions = DEFAULT_PATCH
    ) -> dict[str, Any]:
        """Patch an object. Raises: ApiError."""
        return dict(await self.call(requests.patch(resource, name, change, namespace, options)))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_s: int | None = None,
        propagation: str = "",
    ) -> None:
        """Delete an object. Raises: NotFound, Conflict when it is another one by now, ApiError."""
        await self.raw(requests.delete(resource, name, namespace, uid=uid, grace_s=grace_s, propagation=propagation))

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes until the server ends the watch.

        Raises: Gone when the version is too old, Unavailable when the connection breaks or goes silent.
        """
        request = requests.watch(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            timeout_s=WATCH_TIMEOUT_S,
        )
        answer = await self._send(request)
        try:
            async for line in _lines(answer):
                event = msgspec.json.decode(line, type=WatchEvent)
                if event.type == "ERROR":
                    code = int(event.object.get("code") or 500)
                    error = error_from(code, msgspec.json.encode(event.object), {})
                    raise Gone(410, error.reason, error.message) if code == 410 else error
                yield event
        finally:
            answer.close()

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of an answer as it comes, without an end of our own (`logs -f`). Raises: ApiError."""
        answer = await self._send(request)
        try:
            async for chunk in answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(0, "Unreachable", f"the stream broke off: {error}") from error
        finally:
            answer.close()

    async def upgrade(self, method: str, target: str, headers: dict[str, str]) -> Upgraded:
        """Open a connection of its own and ask for an upgrade (SPDY/3.1 or websocket) as raw byte streams.

        Args:
            method: GET or POST, sent as it is.
            target: path and query.
            headers: `Upgrade` and what belongs to it; credentials are added here.

        Raises: Unavailable when the server cannot be reached.
        """
        own = dict(await self._credential.headers())
        return await open_upgrade(self.endpoint, self._tls, f"{method} {target}", headers | own)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await answer.read()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise Unavailable(0, "Unreachable", f"the answer broke off: {error}") from error


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield complete lines; a line may come in many pieces and is bounded by LINE_BYTES_MAX."""
    rest = b""
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                chunk = await answer.content.readany()
        except TimeoutError as error:
            raise Unavailable(0, "Timeout", f"the watch was silent for {SILENCE_S:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(0, "Unreachable", f"the watch broke off: {error}") from error
        if not chunk:
            return
        *complete, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            raise ApiError(0, "", f"a watch event is larger than {LINE_BYTES_MAX} bytes")
        for line in complete:
            if line:
                yield line
