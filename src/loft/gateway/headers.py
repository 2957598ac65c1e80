"""Header names between the parts of the gateway, and those that nobody outside may set. Pure."""

from __future__ import annotations

import base64
import binascii

import msgspec

from loft.identity.subject import AUTHENTICATED, TEAM_PREFIX, USER_PREFIX

UPSTREAM = "x-loft-upstream"
"""Set by the decision: name of the Envoy cluster. Routes match on it, so without a decision there is no way out."""
LONG_RUNNING = "x-loft-long-running"
"""Set by the decision: no idle time-out."""
IMPERSONATES_PREFIX = "x-loft-client-impersonates-"
"""Set at the very beginning, followed by one of IMPERSONATION, when the client sent that Impersonate header."""
IMPERSONATION = ("user", "group", "uid")

USER = "x-loft-user"
GROUPS = "x-loft-groups"
KEY = "x-loft-key"
ASSERTED = (USER, GROUPS, KEY)
"""Centre to agent: who it is. Believed on the listener for the centre only."""

STRIPPED_PREFIXES = (
    "impersonate-",
    "x-remote-",
    "x-auth-request-",
    "x-forwarded-",
    "x-envoy-",
    "x-gw-",
    "x-target-",
)
STRIPPED_NAMES = (
    "forwarded",
    "proxy-authorization",
    "x-real-ip",
    "x-original-url",
    "x-original-uri",
    "x-original-method",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
)
INTERNAL_PREFIX = "x-loft-"


def encode_groups(groups: tuple[str, ...]) -> str:
    """Return groups as one header value: base64 of a JSON list."""
    return base64.b64encode(msgspec.json.encode(list(groups))).decode()


def decode_groups(value: str) -> tuple[str, ...]:
    """Read what `encode_groups` made. Raises: ValueError for anything else."""
    try:
        return tuple(msgspec.json.decode(base64.b64decode(value, validate=True), type=list[str]))
    except (binascii.Error, msgspec.DecodeError) as error:
        raise ValueError("the groups are not base64 of a JSON list of names") from error


def may_be_asserted(user: str, groups: tuple[str, ...]) -> bool:
    """Tell whether the centre may assert this identity: never a name of Kubernetes' own.

    So even a centre in wrong hands cannot become system:masters in a cluster.
    """
    return user.startswith((USER_PREFIX, TEAM_PREFIX)) and all(
        group == AUTHENTICATED or group.startswith((USER_PREFIX, TEAM_PREFIX)) for group in groups
    )
