"""Performs the actions of a plan, in order, and stops at the first failure: the next round plans anew."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import assert_never

from loft.core.action import Action, Apply, Create, Delete, Event, Patch, Update, target
from loft.core.resource import EVENTS
from loft.kube import request as requests
from loft.kube.client import Client
from loft.kube.errors import ApiError, NotFound
from loft.kube.failpoint import failpoint
from loft.kube.request import PatchOptions

log = logging.getLogger(__name__)

EVENT_REPEAT_S = 60.0
"""The same Event about the same object is written once in this time."""
EVENTS_REMEMBERED = 1000


class Executor:
    """Writes to one API server under one component's name."""

    def __init__(self, client: Client, *, component: str) -> None:
        self._client = client
        self._component = component
        self._told: dict[tuple[str, str, str], float] = {}
        self.writes = 0

    async def execute(self, actions: Sequence[Action]) -> None:
        """Perform actions in order.

        An absent object at a Delete is success. An Event that cannot be written is only logged.
        Raises: ApiError of the first action that failed; later ones are not tried.
        """
        for action in actions:
            name = f"{self._component}.{type(action).__name__.lower()}"
            if not isinstance(action, Event):
                name += f".{action.resource.plural}"
            log.debug("%s", target(action))
            await failpoint(f"{name}.before")
            await self._perform(action)
            self.writes += 1
            await failpoint(f"{name}.after")

    async def _perform(self, action: Action) -> None:
        client = self._client
        match action:
            case Apply(resource, body, manager, force, subresource):
                await client.apply(resource, body, manager=manager, force=force, subresource=subresource)
            case Create(resource, body):
                await client.create(resource, body)
            case Update(resource, body, subresource):
                await client.update(resource, body, subresource=subresource)
            case Patch():
                await self._patch(action)
            case Delete(resource, namespace, name, uid, grace_s, propagation):
                with contextlib.suppress(NotFound):
                    await client.delete(resource, name, namespace, uid=uid, grace_s=grace_s, propagation=propagation)
            case Event():
                await self._event(action)
            case _:
                assert_never(action)

    async def _patch(self, action: Patch) -> None:
        change = action.patch
        if action.uid and action.kind == "merge":
            change = change | {"metadata": (change.get("metadata") or {}) | {"uid": action.uid}}
        options = PatchOptions(kind=action.kind, subresource=action.subresource)
        request = requests.patch(action.resource, action.name, change, action.namespace, options)
        await self._client.call(request)

    async def _event(self, action: Event) -> None:
        metadata = action.about["metadata"]
        identity = (str(metadata.get("uid", "")), action.reason, action.message)
        now = time.monotonic()
        if now - self._told.get(identity, -EVENT_REPEAT_S) < EVENT_REPEAT_S:
            return
        if len(self._told) >= EVENTS_REMEMBERED:
            self._told.clear()
        self._told[identity] = now
        namespace = metadata.get("namespace") or "default"
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": action.about.get("apiVersion"),
                "kind": action.about.get("kind"),
                "namespace": metadata.get("namespace"),
                "name": metadata.get("name"),
                "uid": metadata.get("uid"),
            },
            "reason": action.reason,
            "message": action.message[:1000],
            "type": action.type,
            "source": {"component": self._component},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        try:
            await self._client.create(EVENTS, body, namespace)
        except ApiError as error:
            log.warning("an event about %s could not be written: %s", metadata.get("name"), error)
