"""Who may do what with users, teams and clusters: RBAC, else what the object itself says about its owner and grants.

`spec.owner` may do everything with the object; each entry of `spec.access` allows its verbs and subresources to
its users and teams, `*` standing for all. Nobody learns of objects they may not see.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from loft.apiserver.authorize import Reviewer, attributes_of, refusal
from loft.apiserver.call import Call, Object
from loft.apiserver.caller import Caller
from loft.apiserver.declaration import Show, Sight
from loft.core.resource import Resource
from loft.kube.errors import NotFound

Find = Callable[[], Awaitable[Object]]
Right = Callable[[Caller, str, str, Object], bool]
"""(caller, verb, subresource, object) -> whether the object's own rules allow it. Pure."""


def granted(caller: Caller, verb: str, subresource: str, obj: Object) -> bool:
    """Tell whether the object's owner or access rules allow this; only for identities of the platform."""
    if not caller.is_ours:
        return False
    spec = obj.get("spec") or {}
    owner = spec.get("owner") or {}
    if _is(caller, owner.get("user"), owner.get("team")):
        return True
    return any(_rule(caller, verb, subresource, rule) for rule in spec.get("access") or [])


def member(caller: Caller, verb: str, subresource: str, obj: Object) -> bool:
    """As `granted`; besides, everybody may read themselves and the teams they are in."""
    name = obj["metadata"]["name"]
    kind = obj.get("kind")
    own = (kind == "User" and name == caller.user_name) or (kind == "Team" and name in caller.teams)
    if own and ((verb in ("get", "list", "watch") and not subresource) or subresource == "profile"):
        return True
    return granted(caller, verb, subresource, obj)


class ObjectPolicy:
    """See declaration.Policy."""

    def __init__(
        self, reviewer: Reviewer, resource: Resource, *, right: Right = granted, reduced: Show | None = None
    ) -> None:
        """Use `right` where RBAC does not allow; `reduced` is what all others of the platform may read, if anything."""
        self._reviewer = reviewer
        self._resource = resource
        self._right = right
        self._reduced = reduced

    async def authorize(self, call: Call, find: Find) -> Sight | None:
        """Decide, and say how much of the answer is shown."""
        if await self._reviewer.allowed(call.caller, attributes_of(call, self._resource)):
            return None
        if not call.caller.is_ours or (call.verb == "create" and not call.subresource):
            raise refusal(call, self._resource)
        if call.verb in ("list", "watch"):
            return Sight(show=lambda obj: self._shown(call, obj))
        try:
            obj = await find()
        except NotFound:
            if self._reduced is not None and call.verb == "get":
                raise
            raise refusal(call, self._resource) from None
        if self._right(call.caller, call.verb, call.subresource, obj):
            return None
        if self._reduced is not None and call.verb == "get" and not call.subresource:
            return Sight(show=self._reduced)
        raise refusal(call, self._resource)

    def _shown(self, call: Call, obj: Object) -> Object | None:
        if self._right(call.caller, "get", "", obj):
            return obj
        return self._reduced(obj) if self._reduced is not None else None


def _rule(caller: Caller, verb: str, subresource: str, rule: Object) -> bool:
    verbs, subresources = rule.get("verbs") or [], rule.get("subresources") or []
    if "*" not in verbs and verb not in verbs:
        return False
    if subresource and "*" not in subresources and subresource not in subresources:
        return False
    users, teams = rule.get("users") or [], rule.get("teams") or []
    if caller.user_name and ("*" in users or caller.user_name in users):
        return True
    return bool(caller.teams) and ("*" in teams or any(team in teams for team in caller.teams))


def _is(caller: Caller, user: str | None, team: str | None) -> bool:
    return bool((user and user == caller.user_name) or (team and team in caller.teams))
