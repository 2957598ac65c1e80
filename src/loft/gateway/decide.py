"""Decides about a request: who it is, whether the key may, where it goes, as whom. Pure.

The order is fixed: form of the request, target, credential, scope, existence. Whoever is not authenticated
learns nothing about what exists. RBAC is not looked at: the API server decides that with the identity given.
"""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from loft.gateway import headers as names
from loft.gateway import upstream
from loft.gateway.authenticate import Passenger, View, authenticate, unauthorized
from loft.gateway.credential import BadCredential, Credential, find_credential
from loft.gateway.decision import Allow, Ask, Decision, Deny, Refused, Request
from loft.gateway.status import warning
from loft.gateway.target import BadTarget, Target, parse
from loft.identity.requestinfo import RequestInfo, request_info
from loft.identity.scope import ScopedRequest, TargetKind, is_allowed
from loft.identity.subject import Identity

VIRTUAL_CLUSTER_ACCESS = "loft:virtualcluster:access"
"""Group that everybody has inside a virtual cluster whom the gateway let through; spec.access is bound to it."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_AUTHORITY = re.compile(r"[A-Za-z0-9._\-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_SCOPES: dict[str, TargetKind] = {"management": "Management", "cluster": "Cluster", "virtualcluster": "VCluster"}
_NOT_HANDED_ON = ("authorization", "cookie", *names.ASSERTED)


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A request with all that was read from it."""

    request: Request
    target: Target
    info: RequestInfo
    credential: Credential
    who: Identity | Passenger | None
    audit: dict[str, str]

    @property
    def is_upgrade(self) -> bool:
        return any(name == "upgrade" for name, _ in self.request.headers)


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    """How the next hop is told who it is."""

    headers: tuple[tuple[str, str], ...] = ()
    group_header: str = ""
    groups: tuple[str, ...] = ()


_NOBODY = _Shown()


def decide(request: Request, view: View, now: datetime) -> Decision:
    """Return what to do with a request."""
    audit: dict[str, str] = {}
    try:
        decision = _decide(request, view, now, audit)
    except Refused as refused:
        decision = msgspec.structs.replace(refused.deny, audit=audit if "user" in audit else {})
    if isinstance(decision, Ask) and isinstance(decision.then, Deny):
        return msgspec.structs.replace(decision, then=noticeable(decision.then, request))
    return noticeable(decision, request) if isinstance(decision, Deny) else decision


def noticeable(deny: Deny, request: Request) -> Deny:
    """Add the message as a warning to the answer of a discovery request.

    kubectl asks for /api and /apis first and does not print the message of a Status it gets there, only "could
    not find the requested resource" and the like; warnings it prints always.
    """
    if request.path.partition("?")[0].endswith(("/api", "/apis")):
        return msgspec.structs.replace(deny, headers=(*deny.headers, ("warning", warning(deny.message))))
    return deny


def _decide(request: Request, view: View, now: datetime, audit: dict[str, str]) -> Decision:
    _check_form(request)
    target = parse(view.role, request.path)
    if isinstance(target, BadTarget):
        raise Refused(target.code, target.message)
    credential = find_credential(request.headers)
    if isinstance(credential, BadCredential):
        raise unauthorized(credential.message)
    info = request_info(request.method, target.segments, target.query)
    audit |= _audit(target, info, view)
    who = authenticate(request, target, credential, view, now)
    seen = _Seen(request=request, target=target, info=info, credential=credential, who=who, audit=audit)
    if isinstance(who, Identity):
        audit |= {"user": who.user, "key": who.key_name}
        _check_scope(seen, view, who)
    elif isinstance(who, Passenger):
        audit["user"] = "serviceaccount of the virtual cluster"
    _refuse_impersonation(request)
    if target.kind == "platform":
        return _to_platform(seen)
    if target.kind == "management":
        return _to_management(seen)
    return _to_agent(seen, view) if view.role == "centre" else _at_agent(seen, view)


def _check_form(request: Request) -> None:
    if request.method not in METHODS:
        message = f"method {request.method[:32]} is not served; use one of {', '.join(METHODS)}"
        raise Refused(405, message, allow=", ".join(METHODS))
    if not _AUTHORITY.fullmatch(request.authority):
        raise Refused(400, "the request does not name exactly one host")


def _check_scope(seen: _Seen, view: View, identity: Identity) -> None:
    target = seen.target
    kind = _SCOPES.get(target.kind)
    if kind is None:  # the platform's own pages have no scope target: a limited key cannot be held to a rule there
        if identity.scope is not None:
            raise Refused(403, f"access key {identity.key_name} is limited to other requests")
        return
    scoped = ScopedRequest(
        target=kind,
        info=seen.info,
        cluster=target.cluster or view.cluster,
        namespace=target.namespace,
        virtual_cluster=target.name,
        is_upgrade=seen.is_upgrade,
    )
    if not is_allowed(identity.scope, scoped):
        raise Refused(403, f"access key {identity.key_name} is limited to other requests; use one with a wider scope")


def _refuse_impersonation(request: Request) -> None:
    for name, _ in request.headers:
        if name.startswith(names.IMPERSONATES_PREFIX):
            header = "Impersonate-" + name.removeprefix(names.IMPERSONATES_PREFIX).title()
            raise Refused(
                403, f"header {header} is not accepted: the gateway does not take impersonation (kubectl --as)"
            )


def _to_platform(seen: _Seen) -> Allow:
    if seen.is_upgrade:
        raise Refused(400, "this path does not take upgrades")
    is_agent = seen.target.segments[0] == "agent"
    shown = _remote(seen.who) if isinstance(seen.who, Identity) else _NOBODY
    return Allow(
        upstream=upstream.PLATFORM,
        path=seen.request.path,
        set_headers=shown.headers,
        group_header=shown.group_header,
        groups=shown.groups,
        # Agents show tokens that are not access keys: the platform's application checks these itself.
        removed=() if is_agent else ("authorization",),
        is_long_running=is_agent,
        audit=seen.audit,
    )


def _to_management(seen: _Seen) -> Allow:
    assert isinstance(seen.who, Identity), "only the platform's pages take nobody"
    if seen.is_upgrade:
        raise Refused(400, "the management API does not take upgrades")
    return _allow(seen, upstream.MANAGEMENT, seen.target.rest, _remote(seen.who))


def _remote(identity: Identity) -> _Shown:
    """Return the headers of Kubernetes' authenticating proxy; the key's name as an extra."""
    headers = (
        ("x-remote-user", identity.user),
        ("x-remote-uid", identity.uid),
        ("x-remote-extra-loft-key", identity.key_name),
    )
    return _Shown(headers=headers, group_header="x-remote-group", groups=identity.groups)


def _to_agent(seen: _Seen, view: View) -> Decision:
    target = seen.target
    known = view.clusters.get(target.cluster)
    if known is None:
        raise Refused(404, f"cluster {target.cluster} is not known; see `loft list clusters`")
    if not known:
        raise Refused(503, f"cluster {target.cluster} has no connection: its agent has not called yet")
    prefix = "/kubernetes/cluster"
    if target.kind == "virtualcluster":
        prefix = f"/kubernetes/virtualcluster/{target.namespace}/{target.name}"
    shown = _asserted(seen.who) if isinstance(seen.who, Identity) else _NOBODY
    return _allow(seen, upstream.agent(target.cluster), prefix + target.rest, shown)


def _asserted(identity: Identity) -> _Shown:
    """Return how the centre tells an agent who it is; the user's credential stays here."""
    headers = (
        (names.USER, identity.user),
        (names.GROUPS, names.encode_groups(identity.groups)),
        (names.KEY, identity.key_name),
    )
    return _Shown(headers=headers)


def _at_agent(seen: _Seen, view: View) -> Decision:
    target, who = seen.target, seen.who
    if target.kind == "cluster":
        assert isinstance(who, Identity), "tokens of ServiceAccounts pass to virtual clusters only"
        return _allow(seen, upstream.API_SERVER, target.rest, _impersonate(who.user, who.groups))
    accounts = view.virtual_clusters.get((target.namespace, target.name))
    name = upstream.virtual_cluster(target.namespace, target.name)
    if isinstance(who, Passenger):
        if not accounts:  # the same answer whether it does not exist or does not take such tokens
            raise unauthorized("ServiceAccount tokens are not accepted for this virtual cluster")
        return _allow(seen, upstream.bearer(name), target.rest, _NOBODY)
    assert who is not None, "only the platform's pages take nobody"
    then: Allow | Deny = Deny(
        code=404,
        message=f"virtual cluster {target.name} in space {target.namespace} is not there or not ready; "
        "see `loft list vclusters`",
        audit=seen.audit,
    )
    if accounts is not None:
        then = _allow(seen, name, target.rest, _impersonate(who.user, (*who.groups, VIRTUAL_CLUSTER_ACCESS)))
    return Ask(identity=who, namespace=target.namespace, name=target.name, then=then, audit=seen.audit)


def _impersonate(user: str, groups: tuple[str, ...]) -> _Shown:
    return _Shown(headers=(("impersonate-user", user),), group_header="impersonate-group", groups=groups)


def _allow(seen: _Seen, name: str, path: str, shown: _Shown) -> Allow:
    headers = list(shown.headers)
    protocols = seen.credential.protocols
    if protocols is not None:
        headers.append(("sec-websocket-protocol", protocols))
    if isinstance(seen.who, Passenger):
        headers.append(("authorization", f"Bearer {seen.credential.bearer}"))
    kept = {header for header, _ in headers}
    return Allow(
        upstream=upstream.upgrade(name) if seen.is_upgrade else name,
        path=path,
        set_headers=tuple(headers),
        group_header=shown.group_header,
        groups=shown.groups,
        removed=tuple(header for header in _NOT_HANDED_ON if header not in kept),
        is_long_running=seen.is_upgrade or seen.info.is_long_running,
        audit=seen.audit,
    )


def _audit(target: Target, info: RequestInfo, view: View) -> dict[str, str]:
    fields = {
        "verb": info.verb,
        "target": target.kind,
        "cluster": target.cluster or view.cluster,
        "space": target.namespace,
        "virtualCluster": target.name,
        "apiGroup": info.group,
        "resource": f"{info.resource}/{info.subresource}" if info.subresource else info.resource,
        "namespace": info.namespace,
        "name": info.name,
        # Without the query: it may hold commands and, from careless clients, tokens.
        "path": target.rest.partition("?")[0],
    }
    return {name: value for name, value in fields.items() if value}
