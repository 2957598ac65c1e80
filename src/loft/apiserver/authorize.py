"""May this caller do this? The API server's own RBAC decides, asked by SubjectAccessReview.

Answers are kept for seconds only, so that a permission that is taken away is gone soon; no answer means no.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from loft.apiserver.call import Call, Object
from loft.apiserver.caller import Caller
from loft.apiserver.declaration import Sight
from loft.apiserver.refusal import forbidden
from loft.core.resource import SUBJECTACCESSREVIEWS, Resource
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.errors import Forbidden

ALLOWED_FRESH_S = 5.0
DENIED_FRESH_S = 1.0
"""A denial is forgotten sooner: somebody who was just given a permission tries again at once."""
ANSWERS_MAX = 10_000


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done; the words are those of SubjectAccessReview."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class Reviewer:
    """Asks one API server, which must be the one whose RBAC counts."""

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._answers: OrderedDict[tuple[Any, ...], tuple[float, bool]] = OrderedDict()

    async def allowed(self, caller: Caller, attributes: Attributes) -> bool:
        """Tell whether RBAC allows it. Raises: ApiError when that cannot be found out."""
        extra = tuple(sorted(caller.extra.items()))
        key = (caller.user, caller.groups, caller.uid, extra, attributes)
        now = self._clock()
        until, answer = self._answers.get(key, (0.0, False))
        if now < until:
            return answer
        answer = await self._ask(caller, attributes)
        self._answers[key] = (now + (ALLOWED_FRESH_S if answer else DENIED_FRESH_S), answer)
        self._answers.move_to_end(key)
        while len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)
        return answer

    async def _ask(self, caller: Caller, attributes: Attributes) -> bool:
        spec: Object = {
            "user": caller.user,
            "groups": list(caller.groups),
            "resourceAttributes": {
                "verb": attributes.verb,
                "group": attributes.group,
                "resource": attributes.resource,
                "subresource": attributes.subresource,
                "namespace": attributes.namespace,
                "name": attributes.name,
            },
        }
        if caller.uid:
            spec["uid"] = caller.uid
        if caller.extra:
            spec["extra"] = {key: list(values) for key, values in caller.extra.items()}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = (await self._client.call(requests.create(SUBJECTACCESSREVIEWS, review))).get("status") or {}
        return status.get("allowed") is True and status.get("denied") is not True


def attributes_of(call: Call, resource: Resource) -> Attributes:
    """Return what a call does, as if it went to `resource` (which may be the backing one)."""
    return Attributes(
        verb=call.verb,
        group=resource.group,
        resource=resource.plural,
        subresource=call.subresource,
        namespace=call.namespace if resource.namespaced else "",
        name=call.name,
    )


def refusal(call: Call, resource: Resource) -> Forbidden:
    """Return the error for a caller who may not do this, in the words of the API server."""
    where = f'in the namespace "{call.namespace}"' if call.namespace else "at the cluster scope"
    plural = f"{resource.plural}/{call.subresource}" if call.subresource else resource.plural
    message = (
        f'User "{call.caller.user}" cannot {call.verb} resource "{plural}" in API group "{resource.group}" {where}'
    )
    return forbidden(resource, call.name, message)


class Rbac:
    """RBAC alone decides, and who may read a collection sees all of it."""

    def __init__(self, reviewer: Reviewer, resource: Resource) -> None:
        self._reviewer = reviewer
        self._resource = resource

    async def authorize(self, call: Call, find: Callable[[], Awaitable[Object]]) -> Sight | None:
        """See declaration.Policy."""
        if not await self._reviewer.allowed(call.caller, attributes_of(call, self._resource)):
            raise refusal(call, self._resource)
        return None


class Ours:
    """Everybody whom the platform knows may do this; the store looks after whose objects they are."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    async def authorize(self, call: Call, find: Callable[[], Awaitable[Object]]) -> Sight | None:
        """See declaration.Policy."""
        if not call.caller.is_ours:
            raise forbidden(
                self._resource,
                call.name,
                f"{call.caller.user!r} is not a user or team of the platform; log in with `loft login`",
            )
        return None
