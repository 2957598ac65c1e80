"""Envoy's external authorization service: turns its question into a Request, the decision into its answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2 as auth
from google.rpc import code_pb2

from loft.gateway import headers as names
from loft.gateway.access import Access
from loft.gateway.authenticate import View
from loft.gateway.decide import decide, noticeable
from loft.gateway.decision import Allow, Ask, Deny, Request
from loft.gateway.envoy.chain import GROUP_HEADER, GROUPS
from loft.gateway.settings import CENTRE_URI
from loft.gateway.status import status_text

log = logging.getLogger(__name__)

_SERVICE = "envoy.service.auth.v3.Authorization"
_OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class AuthorizationServer:
    """Answers for the listeners of one kind; `from_centre` for the agent's listener for the centre."""

    def __init__(self, view: View, access: Access, clock: Callable[[], datetime], *, from_centre: bool = False) -> None:
        """`view` is read at each request; its owner keeps it up to date."""
        self._view = view
        self._access = access
        self._clock = clock
        self._from_centre = from_centre

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server needs to serve this."""
        method = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=auth.CheckRequest.FromString,
            response_serializer=auth.CheckResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"Check": method})

    async def _check(self, question: Any, context: Any) -> Any:
        # An exception here becomes an error of the call, which Envoy answers with 503: nothing gets through.
        if self._from_centre and CENTRE_URI not in question.attributes.source.principal.split(","):
            return answer(Deny(code=401, message="only the centre may use this listener"))
        request = read(question, from_centre=self._from_centre)
        decision = decide(request, self._view, self._clock())
        if isinstance(decision, Ask):
            decision = await self._ask(decision, request)
        return answer(decision)

    async def _ask(self, ask: Ask, request: Request) -> Allow | Deny:
        try:
            allowed = await self._access.allows(ask.identity, ask.namespace, ask.name)
        except Exception as error:  # whatever went wrong: not allowed
            log.warning("cannot ask who may reach virtual cluster %s/%s: %r", ask.namespace, ask.name, error)
            message = "the cluster cannot tell whether you may reach the virtual cluster; try again"
            return noticeable(Deny(code=503, message=message, audit=ask.audit), request)
        if allowed:
            return ask.then
        message = (
            f"{ask.identity.user} cannot get virtualclusters.storage.loft.sh {ask.name} in namespace "
            f"{ask.namespace}; ask the owner of the space for access"
        )
        return noticeable(Deny(code=403, message=message, audit=ask.audit), request)


def read(question: Any, *, from_centre: bool) -> Request:
    """Read Envoy's question."""
    http = question.attributes.request.http
    headers = [
        (header.key, header.raw_value or header.value.encode("latin-1", "replace"))
        for header in http.header_map.headers
        if not header.key.startswith(":")
    ]
    return Request(method=http.method, path=http.path, authority=http.host, headers=headers, from_centre=from_centre)


def answer(decision: Allow | Deny) -> Any:
    """Return Envoy's form of a decision."""
    return _allowed(decision) if isinstance(decision, Allow) else _denied(decision)


def _allowed(allow: Allow) -> Any:
    response = auth.CheckResponse()
    response.status.code = code_pb2.OK
    ok = response.ok_response
    ok.headers_to_remove.extend(allow.removed)
    headers = [(names.UPSTREAM, allow.upstream), (":path", allow.path), *allow.set_headers]
    if allow.is_long_running:
        headers.append((names.LONG_RUNNING, "1"))
    for name, value in headers:
        ok.headers.add(header=base_pb2.HeaderValue(key=name, value=value), append_action=_OVERWRITE)
    fields = _describe(response, allow.audit, allowed=True)
    fields[GROUP_HEADER].string_value = allow.group_header
    for group in allow.groups:
        fields[GROUPS].list_value.values.add(string_value=group)
    return response


def _denied(deny: Deny) -> Any:
    response = auth.CheckResponse()
    response.status.code = code_pb2.UNAUTHENTICATED if deny.code == 401 else code_pb2.PERMISSION_DENIED
    denied = response.denied_response
    denied.status.code = deny.code
    denied.body = status_text(deny.code, deny.message)
    for name, value in (("content-type", "application/json"), *deny.headers):
        denied.headers.add(header=base_pb2.HeaderValue(key=name, value=value), append_action=_OVERWRITE)
    _describe(response, deny.audit, allowed=False)
    return response


def _describe(response: Any, audit: dict[str, str], *, allowed: bool) -> Any:
    """Write what the guard, the audit log and error texts read; return the fields for more."""
    fields = response.dynamic_metadata.fields
    for name, value in audit.items():
        fields[name].string_value = value
    fields["destination"].string_value = audit.get("cluster") or audit.get("target") or "the platform"
    fields["allowed"].bool_value = allowed
    return fields
