"""Remembers for a moment who may reach which virtual cluster, so that a page of requests asks once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from loft.identity.subject import Identity

MayGet = Callable[[Identity, str, str], Awaitable[bool]]
"""(identity, namespace, name) -> may get that VirtualCluster object (a SubjectAccessReview). May raise."""

ALLOWED_S = 1.0
"""How long a yes is believed: a revoked permission works no longer than this."""
ENTRIES_MAX = 20000
ANSWER_TIMEOUT_S = 1.5
"""Below Envoy's own time-out for a decision, so that the client gets an explanation."""

_Question = tuple[str, tuple[str, ...], str, str]


class Access:
    """Asks, and remembers a yes for ALLOWED_S; a no is asked again each time."""

    def __init__(self, may_get: MayGet, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._may_get = may_get
        self._clock = clock
        self._until: dict[_Question, float] = {}

    async def allows(self, identity: Identity, namespace: str, name: str) -> bool:
        """Tell whether the identity may reach the virtual cluster. Raises what asking raises, or TimeoutError."""
        question = (identity.user, identity.groups, namespace, name)
        if self._until.get(question, 0.0) > self._clock():
            return True
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            allowed = await self._may_get(identity, namespace, name)
        if allowed:
            if len(self._until) >= ENTRIES_MAX:
                self._until.clear()
            self._until[question] = self._clock() + ALLOWED_S
        else:
            self._until.pop(question, None)
        return allowed

    def forget(self) -> None:
        """Ask again from now on; called when permissions or virtual clusters change."""
        self._until.clear()
