"""Does what plans ask for: one place that writes to an API server, in order, stopping at the first failure.

The rest of a plan is dropped on a failure, never queued: the next round plans anew from what is there then.
Every write has a failpoint before and after it, so a test can end the process between any two.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any, assert_never

from loft.core.action import Action, Apply, Create, Delete, Event, Patch, Update
from loft.core.resource import object_key
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.errors import Conflict, NotFound
from loft.kube.failpoint import failpoint
from loft.kube.record import Recorder
from loft.kube.request import Request

log = logging.getLogger(__name__)


class Executor:
    """Writes to one API server under one component's name.

    `component` names the writer in failpoints, Events and as field manager of patches. With `dry_run` the API
    server checks everything and stores nothing; Events are only logged.
    """

    def __init__(self, client: Client, *, component: str, dry_run: bool = False) -> None:
        self._client = client
        self._component = component
        self._dry_run = dry_run
        self._recorder = Recorder(client, component)
        self.writes: dict[str, int] = {}
        """Writes done so far, by `verb.plural`; for metrics."""

    async def execute(self, actions: Sequence[Action]) -> None:
        """Perform actions in order.

        Done as well: a Delete of an object that is gone, or whose name has another uid by now. An Event that
        cannot be written is only logged.
        Raises: ApiError of the first action that failed; later ones are not tried.
        """
        for action in actions:
            await self.perform(action)

    async def perform(self, action: Action) -> dict[str, Any] | None:
        """Perform one action; return the object as the server stored it (None for Delete and Event)."""
        log.debug("%s: %s", self._component, describe(action))
        if isinstance(action, Event):
            await failpoint(f"{self._component}.event.before")
            if not self._dry_run:
                await self._recorder.record(action)
            await failpoint(f"{self._component}.event.after")
            return None
        kind = f"{type(action).__name__.lower()}.{action.resource.plural}"
        await failpoint(f"{self._component}.{kind}.before")
        result: Any = None
        if isinstance(action, Delete):
            # Conflict can only be the uid precondition: what was to be deleted is gone.
            with contextlib.suppress(NotFound, Conflict):
                await self._client.raw(self._request(action))
        else:
            result = await self._client.call(self._request(action))
        self.writes[kind] = self.writes.get(kind, 0) + 1
        await failpoint(f"{self._component}.{kind}.after")
        return result if isinstance(result, dict) else None

    def _request(self, action: Apply | Create | Update | Patch | Delete) -> Request:
        dry = self._dry_run
        match action:
            case Apply(resource, body, manager, force, subresource):
                return requests.apply(
                    resource, body, manager=manager, force=force, subresource=subresource, dry_run=dry
                )
            case Create(resource, body, subresource):
                return requests.create(resource, body, subresource=subresource, dry_run=dry)
            case Update(resource, body, subresource):
                return requests.update(resource, body, subresource=subresource, dry_run=dry)
            case Patch(resource, namespace, name, _, kind, subresource):
                return requests.patch(
                    resource, name, conditional(action), namespace, kind, subresource, self._component, dry_run=dry
                )
            case Delete(resource, namespace, name, uid, grace_s, propagation):
                return requests.delete(resource, name, namespace, uid, grace_s, propagation, dry)
            case _:
                assert_never(action)


def conditional(action: Patch) -> dict[str, Any] | list[Any]:
    """Return the patch with its uid precondition in it.

    No patch has preconditions of its own, but a uid cannot be changed: naming the expected one makes the API
    server refuse the whole patch for another object (loft.kube.errors makes a Conflict of that).
    """
    patch, uid = action.patch, action.uid
    if not uid:
        return patch
    if isinstance(patch, list):
        return [{"op": "replace", "path": "/metadata/uid", "value": uid}, *patch]
    return patch | {"metadata": (patch.get("metadata") or {}) | {"uid": uid}}


def describe(action: Action) -> str:
    """Return `verb plural namespace/name`, for logs: never what is written, which may be secret."""
    match action:
        case Event(about, reason):
            return f"event {reason} about {about.get('kind', '')} {object_key(about)}"
        case Patch() | Delete():
            name = f"{action.namespace}/{action.name}" if action.namespace else action.name
        case _:
            name = object_key(action.body)
    subresource = "" if isinstance(action, Delete) else action.subresource
    plural = f"{action.resource.plural}/{subresource}" if subresource else action.resource.plural
    return f"{type(action).__name__.lower()} {plural} {name}"
