"""Who may do what with spaces and virtual clusters: the rights are those on what is behind them.

A space is reached by whoever may reach its Namespace, and by its owner. Creating one takes the right to create
`spaces.cluster.loft.sh`. A virtual cluster takes the same right on `virtualclusters.storage.loft.sh`.
The API server in front has decided about `cluster.loft.sh` before; that alone is never enough here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from loft.apiserver.authorize import Attributes, Reviewer, attributes_of, refusal
from loft.apiserver.call import Call, Object
from loft.apiserver.caller import Caller
from loft.apiserver.declaration import Sight
from loft.apiserver.refusal import forbidden, not_found
from loft.cluster.spaceview import SPACES
from loft.cluster.tenants import Tenants, owns
from loft.core.resource import NAMESPACES, VIRTUALCLUSTERS

Find = Callable[[], Awaitable[Object]]


def on_namespace(verb: str, name: str) -> Attributes:
    """Return the attributes of a verb on a Namespace.

    The namespace of the review is the Namespace itself, as in real requests: a RoleBinding inside counts.
    """
    return Attributes(verb=verb, group="", resource=NAMESPACES.plural, namespace=name, name=name)


class SpacePolicy:
    """See declaration.Policy."""

    def __init__(self, reviewer: Reviewer, tenants: Tenants) -> None:
        self._reviewer = reviewer
        self._tenants = tenants

    async def authorize(self, call: Call, find: Find) -> Sight | None:
        """Decide; lists are shortened to what the caller may see."""
        caller = call.caller
        if call.verb == "create":
            if not await self._reviewer.allowed(caller, attributes_of(call, SPACES)):
                raise refusal(call, SPACES)
            return None
        if call.verb in ("list", "watch"):
            return await self._sight(call)
        if await self._reviewer.allowed(caller, on_namespace(call.verb, call.name)):
            return None
        if not caller.is_ours and not self._tenants.namespaces_of(caller):
            raise refusal(call, SPACES)
        # Whether a space one may not see exists is not told: it is not found, as one that does not exist.
        space = await find()
        if owns(caller, space):
            return None
        if not self._tenants.is_shown(caller, space):
            raise not_found(SPACES, call.name)
        if call.verb != "get":
            raise refusal(call, SPACES)
        return None

    async def _sight(self, call: Call) -> Sight | None:
        caller = call.caller
        everything = Attributes(verb=call.verb, group="", resource=NAMESPACES.plural)
        if await self._reviewer.allowed(caller, everything):
            return None
        await self._tenants.synced()
        return Sight(
            show=lambda space: space if self._tenants.is_shown(caller, space) else None,
            subscribe=lambda changed: self._tenants.follow(caller, changed),
        )


class VirtualClusterPolicy:
    """See declaration.Policy."""

    def __init__(self, reviewer: Reviewer, tenants: Tenants) -> None:
        self._reviewer = reviewer
        self._tenants = tenants

    async def authorize(self, call: Call, find: Find) -> Sight | None:
        """Decide; a list over all namespaces is shortened to those in which the caller may list."""
        attributes = attributes_of(call, VIRTUALCLUSTERS)
        if await self._reviewer.allowed(call.caller, attributes):
            return None
        if call.namespace or call.verb not in ("list", "watch"):
            raise refusal(call, VIRTUALCLUSTERS)
        await self._tenants.synced()
        allowed = set()
        for namespace in sorted(self._tenants.namespaces_of(call.caller)):
            if await self._reviewer.allowed(call.caller, msgspec.structs.replace(attributes, namespace=namespace)):
                allowed.add(namespace)
        return Sight(show=lambda obj: obj if obj["metadata"].get("namespace") in allowed else None)


def default_owner(caller: Caller) -> Object:
    """Return whose a space becomes when nobody is named: the caller's; nobody's for callers not of the platform."""
    if caller.user_name:
        return {"user": caller.user_name}
    return {"team": caller.team_name} if caller.team_name else {}


async def require_assign(reviewer: Reviewer, caller: Caller, name: str, user: str, team: str) -> None:
    """Check that the caller may make this user or team (or nobody) the owner of a space.

    One may own a space oneself or give it to a team of one's own; all else takes the verb `assign` on spaces.
    Raises: Forbidden.
    """
    if (user and user == caller.user_name and not team) or (team and team in caller.teams and not user):
        return
    attributes = Attributes(verb="assign", group=SPACES.group, resource=SPACES.plural, name=name)
    if not await reviewer.allowed(caller, attributes):
        owner = f"user {user}" if user else f"team {team}" if team else "nobody"
        raise forbidden(
            SPACES, name, f"{caller.user!r} may not make {owner} the owner; that takes the verb assign on spaces"
        )


async def require_protected(reviewer: Reviewer, caller: Caller, name: str, paths: list[str]) -> None:
    """Check that the caller may change labels and annotations that other parts of the cluster act on.

    Raises: Forbidden naming them.
    """
    if paths and not await reviewer.allowed(caller, Attributes(verb="update", group="", resource=NAMESPACES.plural)):
        raise forbidden(SPACES, name, f"{', '.join(paths)} can be set only by those who may update all namespaces")
