"""The client of an API server: requests, lists, watches, streams, upgrades.

Guarantees: every wait ends (loft.kube.transport); every failure is an ApiError; every answer is bounded. Requests
are not repeated, with two exceptions: after 401 with a credential that can be renewed (nothing was done then),
and, inside aiohttp, once when a kept connection turns out to be closed, only for methods that are idempotent by
RFC 9110 §9.2.2 (not POST, not PATCH). All other trying again is the caller's, by its queue's back-off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from yarl import URL

from loft.core.action import PatchKind, Propagation
from loft.core.resource import Resource
from loft.kube import request as requests
from loft.kube import transport
from loft.kube.config import Endpoint
from loft.kube.credential import Credential
from loft.kube.errors import ApiError, Gone, NotFound, Unauthorized, error_from, unreachable
from loft.kube.request import Request
from loft.kube.tls import tls_context
from loft.kube.upgrade import Upgraded, open_upgrade
from loft.kube.watch import Watch, WatchEvent

__all__ = ["Client", "ObjectList", "Page", "Upgraded", "Watch", "WatchEvent"]

BODY_BYTES_MAX = 256 * 1024 * 1024
"""A page of 500 objects of the largest size etcd stores stays below 1 GiB; in practice 10 MB is a lot."""
ERROR_BYTES_MAX = 64 * 1024
STREAMS_MAX = 1000
"""Connections for watches and streams, apart from those for calls: they must not take each other's place."""
SESSIONS_KEPT = 4

Object = dict[str, Any]
Objects = list[Object]


class ObjectList(msgspec.Struct):
    """A whole collection, and the version of the store at which it was so."""

    items: Objects
    resource_version: str


class _ListMeta(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct):
    """One page of a collection; `metadata.continue_` is "" on the last one."""

    items: Objects | None = None
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


_page = msgspec.json.Decoder(Page)
_any = msgspec.json.Decoder()


class _Sessions(msgspec.Struct):
    """Connection pools that share one client certificate."""

    cert: bytes
    calls: aiohttp.ClientSession
    streams: aiohttp.ClientSession

    async def close(self) -> None:
        await self.calls.close()
        await self.streams.close()


class _Stream:
    """The body of an answer that comes bit by bit; b"" is its end."""

    def __init__(self, server: str, answer: aiohttp.ClientResponse) -> None:
        self._server = server
        self._answer = answer

    async def read(self) -> bytes:
        try:
            return await self._answer.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(self._server, f"the stream broke off ({_words(error)})") from error

    def close(self) -> None:
        # Dropped, not shut down in an orderly way: the server is still sending, and nobody reads any more.
        connection = self._answer.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self._answer.close()


class Client:
    """One API server with one identity; an async context manager. `limit` bounds the connections for calls."""

    def __init__(self, endpoint: Endpoint, *, user_agent: str = "loft", limit: int = 100) -> None:
        self.endpoint = endpoint
        self._credential = Credential(endpoint)
        self._user_agent = user_agent
        self._limit = limit
        self._sessions: list[_Sessions] = []

    async def __aenter__(self) -> Self:
        if self.endpoint.exec_ is None:
            await self._open(b"", b"")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sessions in self._sessions:
            await sessions.close()
        self._sessions.clear()
        # The transports of TLS connections are closed in the next turns of the loop.
        await asyncio.sleep(0)

    async def raw(self, request: Request) -> bytes:
        """Send a request and return the body of the answer. Raises: ApiError."""
        answer = await self._send(request)
        try:
            return await self._body(answer)
        finally:
            answer.release()

    async def call(self, request: Request) -> Any:
        """Send a request and return the answer decoded from JSON (None when empty). Raises: ApiError."""
        body = await self.raw(request)
        return self._decoded(_any, body) if body else None

    async def get(self, resource: Resource, name: str, namespace: str = "", subresource: str = "") -> Object:
        """Read one object. Raises: NotFound, ApiError."""
        return dict(await self.call(requests.get(resource, name, namespace, subresource)))

    async def find(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """Read one object, None when it does not exist. Raises: ApiError."""
        try:
            return await self.get(resource, name, namespace)
        except NotFound:
            return None

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Read a whole collection page by page, all pages as of one moment; apiVersion and kind are filled in.

        When the pages outlive the server's history, the collection is read once more in one piece.
        Raises: ApiError.
        """
        selectors = {"label_selector": label_selector, "field_selector": field_selector}
        try:
            return await self._list(resource, namespace, selectors, limit=500)
        except Gone:
            return await self._list(resource, namespace, selectors, limit=0)

    async def _list(self, resource: Resource, namespace: str, selectors: dict[str, str], limit: int) -> ObjectList:
        whole = ObjectList([], "")
        async for page in self.pages(resource, namespace, limit=limit, **selectors):
            whole.items += page.items or ()
            whole.resource_version = page.metadata.resource_version
        return whole

    async def pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncGenerator[Page, None]:
        """Yield a collection page by page, for callers that keep only a part of each object.

        The resource version of every page is the one to watch from. `limit` 0: one page.
        Raises: Gone when the pages outlive the server's history (start again), ApiError.
        """
        more = ""
        while True:
            request = requests.list_(
                resource,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=limit,
                continue_=more,
            )
            page: Page = self._decoded(_page, await self.raw(request))
            for item in page.items or ():
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
            more = page.metadata.continue_
            yield page
            if not more:
                return

    async def create(self, resource: Resource, body: Object, namespace: str = "", subresource: str = "") -> Object:
        """Create an object and return it as stored. Raises: AlreadyExists, Invalid, ApiError."""
        return dict(await self.call(requests.create(resource, body, namespace, subresource)))

    async def update(self, resource: Resource, body: Object, namespace: str = "", subresource: str = "") -> Object:
        """Replace an object and return it as stored. Raises: Conflict, ApiError."""
        return dict(await self.call(requests.update(resource, body, namespace, subresource)))

    async def apply(
        self, resource: Resource, body: Object, *, manager: str, force: bool = True, subresource: str = ""
    ) -> Object:
        """Server-side apply; return the object as stored. Raises: Conflict (foreign owner or uid), ApiError."""
        request = requests.apply(resource, body, manager=manager, force=force, subresource=subresource)
        return dict(await self.call(request))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object | Sequence[Any],
        namespace: str = "",
        kind: PatchKind = "merge",
        *,
        subresource: str = "",
        manager: str = "",
    ) -> Object:
        """Patch an object and return it as stored. Raises: ApiError."""
        request = requests.patch(resource, name, patch, namespace, kind, subresource, manager)
        return dict(await self.call(request))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_s: int | None = None,
        propagation: Propagation = "",
    ) -> None:
        """Delete an object. Raises: NotFound, Conflict when the name has another uid, ApiError."""
        await self.raw(requests.delete(resource, name, namespace, uid, grace_s, propagation))

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> Watch:
        """Follow a collection from a resource version on (see Watch)."""
        return Watch(
            self._stream,
            lambda version: requests.watch(
                resource,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                resource_version=version,
                timeout_s=transport.WATCH_S,
            ),
            resource_version,
        )

    async def stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield the body of an answer as it comes (`logs -f`, watches). Silence has no limit here.

        Raises: ApiError; Unavailable when the connection breaks.
        """
        stream = await self._stream(request)
        try:
            while chunk := await stream.read():
                yield chunk
        finally:
            stream.close()

    async def upgrade(
        self, method: str, path_and_query: str, headers: Mapping[str, str] | Iterable[tuple[str, str]]
    ) -> Upgraded:
        """Ask for another protocol (SPDY/3.1, websocket) on a connection of its own (see loft.kube.upgrade).

        `headers` are the caller's `Upgrade` and what belongs to it; credentials are added, and win.
        Raises: Unavailable, Unauthorized when there is no credential. Other refusals are in the answer.
        """
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        identity = await self._credential.identity()
        tls = None
        if self.endpoint.server.startswith("https:"):
            tls = tls_context(self.endpoint, identity.cert, identity.key)
        own = [("User-Agent", self._user_agent), *await self._credential.headers()]
        answer = await open_upgrade(self.endpoint, tls, Request(method, path_and_query), (pairs, own))
        if answer.status == 401:
            self._credential.refused()
        return answer

    async def _stream(self, request: Request) -> _Stream:
        return _Stream(self.endpoint.server, await self._send(request, streaming=True))

    async def _send(self, request: Request, *, streaming: bool = False) -> aiohttp.ClientResponse:
        """Return the answer when its status is a success; the caller closes it."""
        try:
            return await self._send_once(request, streaming)
        except Unauthorized as error:
            if error.status != 401 or not self._credential.refused():
                raise
        return await self._send_once(request, streaming)

    async def _send_once(self, request: Request, streaming: bool) -> aiohttp.ClientResponse:
        identity = await self._credential.identity()
        sessions = await self._open(identity.cert, identity.key)
        headers = [("Accept", request.accept), *await self._credential.headers()]
        if request.body is not None:
            headers.append(("Content-Type", request.content_type))
        try:
            async with asyncio.timeout(transport.ANSWER_S):
                answer = await (sessions.streams if streaming else sessions.calls).request(
                    request.method,
                    URL(self.endpoint.server + request.target, encoded=True),
                    data=request.body,
                    headers=headers,
                    allow_redirects=False,
                    proxy=self.endpoint.proxy_url or None,
                    server_hostname=self.endpoint.tls_server_name or None,
                )
        except TimeoutError as error:
            raise unreachable(self.endpoint.server, f"no answer within {transport.ANSWER_S:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(self.endpoint.server, _words(error)) from error
        if answer.status < 300:
            return answer
        try:
            raise error_from(answer.status, await self._body(answer, ERROR_BYTES_MAX, cut=True), answer.headers)
        finally:
            answer.release()

    async def _body(self, answer: aiohttp.ClientResponse, most: int = BODY_BYTES_MAX, *, cut: bool = False) -> bytes:
        """Read a body of at most `most` bytes; longer ones are cut or refused."""
        pieces: list[bytes] = []
        size = 0
        try:
            while True:
                async with asyncio.timeout(transport.READ_S):
                    piece = await answer.content.readany()
                if not piece:
                    return b"".join(pieces)
                size += len(piece)
                pieces.append(piece)
                if size > most:
                    answer.close()
                    if cut:
                        return b"".join(pieces)[:most]
                    raise ApiError(0, "TooLarge", f"the answer of {self.endpoint.server} exceeds {most} bytes")
        except TimeoutError as error:
            answer.close()
            raise unreachable(self.endpoint.server, f"the answer stopped for {transport.READ_S:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(self.endpoint.server, f"the answer broke off ({_words(error)})") from error

    def _decoded(self, decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
        try:
            return decoder.decode(body)
        except msgspec.DecodeError as error:
            message = f"the answer of {self.endpoint.server} is not what an API server sends: {error}"
            raise ApiError(0, "NotJSON", message) from error

    async def _open(self, cert: bytes, key: bytes) -> _Sessions:
        """Return the pools for a client certificate; older ones serve out what is still under way on them."""
        if self._sessions and self._sessions[-1].cert == cert:
            return self._sessions[-1]
        tls = tls_context(self.endpoint, cert, key) if self.endpoint.server.startswith("https:") else False

        def session(limit: int) -> aiohttp.ClientSession:
            connector = aiohttp.TCPConnector(
                limit=limit, ssl=tls, keepalive_timeout=60.0, socket_factory=transport.new_socket
            )
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=transport.CONNECT_S)
            # Compression costs more processor time than it saves near the server, and big lists are rare.
            headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity"}
            return aiohttp.ClientSession(
                connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
            )

        self._sessions.append(_Sessions(cert, session(self._limit), session(STREAMS_MAX)))
        opened = self._sessions[-1]
        while len(self._sessions) > SESSIONS_KEPT:
            await self._sessions.pop(0).close()
        return opened


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
