"""Writes Events: what people see in `kubectl describe`. Best effort, bounded, repeated ones counted together.

A controller that meets the same trouble again and again must not fill the store: the same Event about the same
object is one object whose count grows, and is written at most once in a while.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from loft.core.action import Event
from loft.core.resource import EVENTS
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, NotFound

log = logging.getLogger(__name__)

REPEAT_S = 60.0
REMEMBERED_MAX = 1000
MESSAGE_LENGTH_MAX = 1024
"""The API server refuses longer messages and truncating loses less than refusing."""
NAME_LENGTH_MAX = 253


class _Told(msgspec.Struct):
    name: str
    at: float
    count: int = 1


class Recorder:
    """Writes Events for one component. `clock` is monotonic seconds."""

    def __init__(self, client: Client, component: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._component = component
        self._clock = clock
        self._told: dict[tuple[str, ...], _Told] = {}

    async def record(self, event: Event) -> None:
        """Write an Event, or count it to the one written before; a failure is only logged."""
        about = event.about.get("metadata") or {}
        identity = (about.get("uid", ""), about.get("name", ""), event.type, event.reason, event.message)
        now = self._clock()
        told = self._told.pop(identity, None)
        if told is not None:
            self._told[identity] = told
            told.count += 1
            if now - told.at < REPEAT_S:
                return
        elif len(self._told) >= REMEMBERED_MAX:
            del self._told[next(iter(self._told))]
        try:
            if told is None or not await self._count(event, told):
                # A time in the name keeps it apart from the same trouble before a restart.
                told = self._told[identity] = _Told(
                    _name(about.get("name") or "unknown", identity, time.time_ns()), now
                )
                await self._client.create(EVENTS, self._body(event, told.name), _namespace(event))
            told.at = now
        except AlreadyExists:
            pass
        except ApiError as error:
            log.warning("event %s about %s cannot be written: %s", event.reason, about.get("name"), error)

    async def _count(self, event: Event, told: _Told) -> bool:
        """Raise the count of an Event; False when the API server has dropped it (Events live for an hour)."""
        try:
            await self._client.patch(
                EVENTS, told.name, {"count": told.count, "lastTimestamp": _stamp()}, _namespace(event)
            )
        except NotFound:
            return False
        return True

    def _body(self, event: Event, name: str) -> dict[str, Any]:
        about = event.about.get("metadata") or {}
        stamp = _stamp()
        involved = {
            "apiVersion": event.about.get("apiVersion", ""),
            "kind": event.about.get("kind", ""),
            **{field: about[field] for field in ("namespace", "name", "uid", "resourceVersion") if about.get(field)},
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": _namespace(event)},
            "involvedObject": involved,
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:MESSAGE_LENGTH_MAX],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }


def _namespace(event: Event) -> str:
    # Events about cluster-scoped objects live in `default`; the API server refuses any other place.
    return (event.about.get("metadata") or {}).get("namespace") or "default"


def _name(about: str, identity: tuple[str, ...], salt: int) -> str:
    digest = hashlib.sha256("\0".join([*identity, str(salt)]).encode()).hexdigest()[:16]
    return f"{about[: NAME_LENGTH_MAX - 17].rstrip('.-')}.{digest}"


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
