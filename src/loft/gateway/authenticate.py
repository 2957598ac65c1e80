"""Who makes a request: an access key, an endpoint token, an assertion of the centre, or nobody. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from loft.gateway import headers as names
from loft.gateway.credential import Credential
from loft.gateway.decision import Refused, Request
from loft.gateway.settings import Role
from loft.gateway.target import Target
from loft.identity.directory import Directory
from loft.identity.endpointtoken import ISSUER, EndpointToken, claimed, verify
from loft.identity.subject import Identity, Refusal

_SERVICE_ACCOUNT = "system:serviceaccount:"


class View(msgspec.Struct, kw_only=True):
    """What the gateway knows at the moment; its owner changes it in place."""

    role: Role
    cluster: str = ""
    directory: Directory
    token_key: bytes = b""
    """PEM; verifies endpoint tokens. Empty: none is accepted."""
    clusters: Mapping[str, bool] = {}
    """Centre: connected clusters by name; False when the agent has no address yet."""
    virtual_clusters: Mapping[tuple[str, str], bool] = {}
    """Agent: (namespace, name) of reachable virtual clusters; the value says whether ServiceAccounts may pass."""


class Passenger(msgspec.Struct, frozen=True):
    """A ServiceAccount token of a virtual cluster: its own API server verifies it, not we."""


def authenticate(
    request: Request, target: Target, credential: Credential, view: View, now: datetime
) -> Identity | Passenger | None:
    """Return who it is; None is allowed for the platform's own pages only."""
    if request.from_centre and (asserted := _asserted(request)) is not None:
        return asserted
    bearer = credential.bearer
    if target.kind == "platform":
        # A key that is no longer good must not stand in the way of logging in again: the page is told nobody.
        identity = view.directory.authenticate(bearer, now) if bearer and target.segments[0] != "agent" else None
        return identity if isinstance(identity, Identity) else None
    if not bearer:
        raise unauthorized("the request has no access key; log in with `loft login`")
    claims = claimed(bearer)
    if request.from_centre and (claims is None or claims.get("iss") == ISSUER):
        raise unauthorized("the request from the centre names no user")
    if claims is None:
        return _accepted(view.directory.authenticate(bearer, now))
    if claims.get("iss") == ISSUER:
        return _by_endpoint_token(bearer, view, now)
    if target.kind == "virtualcluster" and str(claims.get("sub", "")).startswith(_SERVICE_ACCOUNT):
        return Passenger()
    raise unauthorized("the token was not made by this platform; use an access key (`loft login`)")


def _asserted(request: Request) -> Identity | None:
    values = {name: value.decode("latin-1") for name, value in request.headers if name in names.ASSERTED}
    if not values:
        return None
    try:
        groups = names.decode_groups(values.get(names.GROUPS, ""))
    except ValueError as error:
        raise unauthorized(f"the request from the centre is malformed: {error}") from error
    user = values.get(names.USER, "")
    if not names.may_be_asserted(user, groups):
        raise unauthorized("the centre asserts an identity that is not one of the platform's")
    return Identity(user=user, groups=groups, name=user.rpartition(":")[2], key_name=values.get(names.KEY, ""))


def _by_endpoint_token(bearer: str, view: View, now: datetime) -> Identity:
    if view.role != "agent" or not view.token_key:
        raise unauthorized("endpoint tokens are accepted at the cluster's own endpoint only")
    token = verify(bearer, view.token_key, view.cluster, now)
    if isinstance(token, EndpointToken):
        identity = _accepted(view.directory.identify(token.key, now))
        if identity.name == token.user:
            return identity
        raise unauthorized("the endpoint token and its access key belong to different users")
    return _accepted(token)


def _accepted(found: Identity | Refusal) -> Identity:
    if isinstance(found, Identity):
        return found
    raise unauthorized(found.message)


def unauthorized(message: str) -> Refused:
    """Return the refusal of a request whose sender is not known; the header is RFC 9110's demand for a 401."""
    return Refused(401, message, **{"www-authenticate": 'Bearer realm="loft"'})
