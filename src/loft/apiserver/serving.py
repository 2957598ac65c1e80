"""One request to a resource, from URL to answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from loft.apiserver import body
from loft.apiserver.call import (
    Call,
    Event,
    Object,
    WatchOptions,
    call_options,
    is_watch,
    list_options,
    watch_options,
)
from loft.apiserver.caller import Caller
from loft.apiserver.declaration import Declaration, Group, Sight
from loft.apiserver.negotiate import Form, form_of
from loft.apiserver.refusal import bad_request, method_not_allowed, not_found, status_of
from loft.apiserver.table import partial_metadata, table
from loft.apiserver.watching import partial_watch
from loft.kube.errors import ApiError, NotFound

encode = msgspec.json.Encoder().encode
NAME_LENGTH_MAX = 253
_METHODS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Answer(msgspec.Struct):
    """How to answer: what form, which resource, what the caller may see."""

    declaration: Declaration
    form: Form
    include: str
    sight: Sight | None = None
    warnings: list[str] = []


class Resources:
    """Serves the resources of groups."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def answer(self, request: Request, caller: Caller, group: Group, parts: list[str]) -> Response:
        """Answer a request below /apis/GROUP/VERSION/. Raises: ApiError."""
        declaration, call = self._resolve(request, caller, group, parts)
        answer = Answer(declaration, form_of(request.headers.get("accept", "")), _include(request))
        if call.verb in ("list", "watch"):
            answer.sight = await declaration.policy.authorize(call, _nothing)
            if call.verb == "list":
                return await self._list(request, call, answer)
            options = watch_options(request.query_params)
            events = self._watch(call, options, answer)
            return StreamingResponse(events, media_type="application/json")
        if call.verb == "get":
            return await self._get(call, answer)
        return await self._write(request, call, answer)

    def _resolve(self, request: Request, caller: Caller, group: Group, parts: list[str]) -> tuple[Declaration, Call]:
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = _segment(parts[1]), parts[2:]
        declaration = group.find(parts[0])
        if declaration is None or len(parts) > 3 or bool(namespace) > declaration.resource.namespaced:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        resource = declaration.resource
        name = _segment(parts[1]) if len(parts) > 1 else ""
        sub = parts[2] if len(parts) > 2 else ""
        verb = _verb(request, resource.plural, name)
        verbs = next((entry.verbs for entry in declaration.subresources if entry.name == sub), None)
        if sub and verbs is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        if verb not in (verbs or declaration.verbs) or (verb == "create" and bool(name) != bool(sub)):
            raise method_not_allowed(resource, verb)
        if resource.namespaced and not namespace and verb not in ("list", "watch"):
            raise bad_request(f"an empty namespace may not be set when a {resource.kind} is named or created")
        if verb == "watch" and name:
            raise method_not_allowed(resource, "watch")
        call = Call(
            caller=caller,
            verb=verb,
            namespace=namespace,
            name=name,
            subresource=sub,
            user_agent=request.headers.get("user-agent", ""),
            **call_options(request.query_params),
        )
        return declaration, call

    # Reading

    async def _get(self, call: Call, answer: Answer) -> Response:
        declaration = answer.declaration
        read: list[Object] = []

        async def find() -> Object:
            read.append(await _find(declaration, call))
            return read[-1]

        answer.sight = await declaration.policy.authorize(call, find)
        # What the policy has looked at need not be read again.
        obj = read[-1] if read and not call.subresource else await declaration.store.get(call)
        return self._single(obj, answer, call)

    async def _list(self, request: Request, call: Call, answer: Answer) -> Response:
        page = await answer.declaration.store.list(call, list_options(request.query_params))
        items, remaining = page.items, page.remaining
        if answer.sight is not None:
            shown = (answer.sight.show(item) for item in items)
            # How many more there are would tell about objects that the caller may not see.
            items, remaining = [item for item in shown if item is not None], None
        metadata: Object = {"resourceVersion": page.resource_version}
        if page.continue_:
            metadata["continue"] = page.continue_
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
        if answer.form == "table":
            return respond(table(answer.declaration.columns, items, metadata, self._now(), answer.include))
        resource = answer.declaration.resource
        if answer.form == "metadata":
            listed = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return respond(listed | {"metadata": metadata, "items": [partial_metadata(item) for item in items]})
        listed = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        return respond(listed | {"metadata": metadata, "items": items})

    async def _watch(self, call: Call, options: WatchOptions, answer: Answer) -> AsyncIterator[bytes]:
        store = answer.declaration.store
        source = partial_watch(store, call, options, answer.sight) if answer.sight else store.watch(call, options)
        first = True
        try:
            async with aclosing(source) as events:  # type: ignore[type-var]
                async for event in events:
                    yield encode(self._told(event, answer, first=first)) + b"\n"
                    first = False
        except ApiError as error:
            yield encode(Event("ERROR", status_of(error))) + b"\n"

    def _told(self, event: Event, answer: Answer, *, first: bool) -> Event:
        if event.type == "ERROR" or answer.form == "object":
            return event
        if answer.form == "metadata":
            return Event(event.type, partial_metadata(event.object))
        items = [] if event.type == "BOOKMARK" else [event.object]
        version = (event.object.get("metadata") or {}).get("resourceVersion", "")
        rows = table(answer.declaration.columns, items, {"resourceVersion": version}, self._now(), answer.include)
        return Event(event.type, rows if first else rows | {"columnDefinitions": None})

    def _single(self, obj: Object, answer: Answer, call: Call, *, code: int = 200) -> Response:
        if answer.sight is not None and obj.get("kind") != "Status":
            shown = answer.sight.show(obj)
            if shown is None:
                raise not_found(answer.declaration.resource, call.name)
            obj = shown
        if obj.get("kind") != "Status" and not call.subresource:
            if answer.form == "table":
                version = (obj.get("metadata") or {}).get("resourceVersion", "")
                metadata = {"resourceVersion": version}
                obj = table(answer.declaration.columns, [obj], metadata, self._now(), answer.include)
            elif answer.form == "metadata":
                obj = partial_metadata(obj)
        return respond(obj, code, answer.warnings)

    # Writing

    async def _write(self, request: Request, call: Call, answer: Answer) -> Response:
        declaration, store = answer.declaration, answer.declaration.store
        data = await body.read(request)
        if call.verb == "delete":
            call, options = _delete_options(request, call, data)
            await declaration.policy.authorize(call, lambda: _find(declaration, call))
            return self._single(await store.delete(call, options), answer, call)
        if call.verb == "patch":
            return await self._patch(request, call, answer, data)
        obj = body.decode_object(data, body.media_type(request))
        kind = next((sub.kind for sub in declaration.subresources if sub.name == call.subresource), declaration.kind)
        call, answer.warnings = _fields(call, declaration, obj, kind.__name__)
        body.check_object(call, declaration.resource, kind, obj)
        await declaration.policy.authorize(call, lambda: _find(declaration, call))
        if call.verb == "update":
            return self._single(await store.update(call, obj), answer, call)
        return self._single(await store.create(call, obj), answer, call, code=201)

    async def _patch(self, request: Request, call: Call, answer: Answer, data: bytes) -> Response:
        declaration = answer.declaration
        change = body.decode_change(data, body.media_type(request))
        kind = declaration.resource.kind
        code = 200
        if change.kind != "json":
            call, answer.warnings = _fields(call, declaration, change.content, kind)
        if change.kind == "apply":
            if not call.field_manager:
                raise bad_request("fieldManager is required for apply")
            body.check_object(call, declaration.resource, declaration.kind, change.content)
            if not call.subresource and not await _exists(declaration, call):
                create = msgspec.structs.replace(call, verb="create")
                await declaration.policy.authorize(create, lambda: _find(declaration, call))
                return self._single(await declaration.store.patch(create, change), answer, call, code=201)
        await declaration.policy.authorize(call, lambda: _find(declaration, call))
        return self._single(await declaration.store.patch(call, change), answer, call, code=code)


def respond(value: Any, code: int = 200, warnings: list[str] | None = None) -> Response:
    """Return an answer in JSON; warnings become headers that kubectl prints (RFC 9111, code 299)."""
    response = Response(encode(value), status_code=code, media_type="application/json", headers={"Vary": "Accept"})
    for warning in warnings or []:
        text = warning.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append("Warning", f'299 - "{text}"')
    return response


def _include(request: Request) -> str:
    include = request.query_params.get("includeObject", "") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise bad_request(f"includeObject: {include!r} is none of None, Metadata, Object")
    return include


def _verb(request: Request, plural: str, name: str) -> str:
    verb = _METHODS.get(request.method)
    if verb is None:
        raise ApiError(405, "MethodNotAllowed", f"{request.method} is not supported on {plural}")
    if is_watch(request.query_params) and verb == "get":
        return "watch"
    if name:
        return verb
    return {"get": "list", "delete": "deletecollection"}.get(verb, verb)


def _segment(text: str) -> str:
    if not text or len(text) > NAME_LENGTH_MAX or text in (".", "..") or "%" in text:
        raise bad_request(f"{text[:60]!r} is not a name")
    return text


def _fields(call: Call, declaration: Declaration, obj: Object, kind: str) -> tuple[Call, list[str]]:
    """Check for unknown fields here, where the names are ours; the server behind need not do it again."""
    warnings = body.check_fields(call, declaration.object_schema(call.subresource), obj, kind)
    return msgspec.structs.replace(call, field_validation="Ignore"), warnings


def _delete_options(request: Request, call: Call, data: bytes) -> tuple[Call, Object]:
    options = body.decode_object(data, body.media_type(request)) if data.strip() else {}
    options = {key: value for key, value in options.items() if key not in ("apiVersion", "kind")}
    query = request.query_params
    if "propagationPolicy" in query:
        options.setdefault("propagationPolicy", query["propagationPolicy"])
    if query.get("gracePeriodSeconds", "").isdigit():
        options.setdefault("gracePeriodSeconds", int(query["gracePeriodSeconds"]))
    if options.pop("dryRun", None):
        call = msgspec.structs.replace(call, dry_run=True)
    return call, options


async def _find(declaration: Declaration, call: Call) -> Object:
    return await declaration.store.get(msgspec.structs.replace(call, verb="get", subresource=""))


async def _exists(declaration: Declaration, call: Call) -> bool:
    try:
        await _find(declaration, call)
    except NotFound:
        return False
    return True


async def _nothing() -> Object:
    raise bad_request("a collection has no single object")
