"""Serves Envoy's configuration: the incremental form of the aggregated discovery service (ADS).

Incremental, so that one virtual cluster more costs one message about it, not all of the configuration again.
Resources of a type that Envoy subscribes to as a whole (listeners, clusters) are sent when they change,
secrets when they were asked for by name. What Envoy rejects is logged and stays as it was.

Source: envoyproxy.io docs, xDS protocol, "Incremental xDS".
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from loft.gateway.envoy.proto import RESOURCE_TYPES
from loft.gateway.resources import Encoded

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(type, name)"""

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class _Stream:
    """One Envoy's connection: what it wants, has, and has still to be told."""

    def __init__(self) -> None:
        self.wanted: dict[str, set[str] | None] = {}
        """Names by type; None means all of the type."""
        self.sent: dict[Key, str] = {}
        self.pending: dict[str, set[str]] = {}
        self.unanswered: dict[str, str] = {}
        self.wake = asyncio.Event()

    def wants(self, kind: str, name: str) -> bool:
        if kind not in self.wanted:
            return False
        names = self.wanted[kind]
        return names is None or name in names

    def note(self, kind: str, names: set[str]) -> None:
        self.pending.setdefault(kind, set()).update(names)
        self.wake.set()


class DiscoveryServer:
    """Holds the resources and tells every connected Envoy about changes."""

    def __init__(self) -> None:
        self._resources: dict[Key, Encoded] = {}
        self._streams: set[_Stream] = set()
        self._nonces = itertools.count(1)
        self._idle = asyncio.Condition()
        self.rejected: list[str] = []
        """What Envoy said about resources it did not take."""

    def change(self, updated: Mapping[Key, Encoded], removed: frozenset[Key] = frozenset()) -> None:
        """Put resources in place and take others away; costs time for these only."""
        changed: dict[str, set[str]] = {}
        for key, encoded in updated.items():
            old = self._resources.get(key)
            if old is None or old.version != encoded.version:
                self._resources[key] = encoded
                changed.setdefault(key[0], set()).add(key[1])
        for key in removed:
            if self._resources.pop(key, None) is not None:
                changed.setdefault(key[0], set()).add(key[1])
        for stream in self._streams:
            for kind, names in changed.items():
                stream.note(kind, {name for name in names if stream.wants(kind, name)})

    async def settled(self) -> None:
        """Wait until an Envoy is connected and every one has answered all it was sent."""
        async with self._idle:
            await self._idle.wait_for(self._is_settled)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server needs to serve this."""
        method = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"DeltaAggregatedResources": method})

    def _is_settled(self) -> bool:
        return bool(self._streams) and all(
            bool(stream.wanted) and not stream.unanswered and not any(stream.pending.values())
            for stream in self._streams
        )

    async def _serve(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        stream = _Stream()
        self._streams.add(stream)
        reading = asyncio.create_task(self._read(stream, requests))
        try:
            while not reading.done():
                await stream.wake.wait()
                stream.wake.clear()
                for kind in RESOURCE_TYPES:
                    if (response := self._response(stream, kind)) is not None:
                        yield response
                await self._look_again()
            reading.result()
        finally:
            reading.cancel()
            self._streams.discard(stream)
            with contextlib.suppress(asyncio.CancelledError):
                await self._look_again()

    async def _read(self, stream: _Stream, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                self._take(stream, request)
                await self._look_again()
        finally:
            stream.wake.set()

    def _take(self, stream: _Stream, request: Any) -> None:
        kind = request.type_url
        if request.response_nonce:
            stream.unanswered.pop(request.response_nonce, None)
            if request.HasField("error_detail"):
                self.rejected.append(f"{kind}: {request.error_detail.message}")
                log.error("Envoy rejects configuration: %s: %s", kind, request.error_detail.message)
        subscribed = set(request.resource_names_subscribe)
        if kind not in stream.wanted:
            # The first request of a type without names means: everything.
            everything = not subscribed or "*" in subscribed
            stream.wanted[kind] = None if everything else set()
            for name, version in request.initial_resource_versions.items():
                stream.sent[kind, name] = version
            if everything:
                known = {name for other, name in self._resources if other == kind}
                stream.note(kind, known | {name for other, name in stream.sent if other == kind})
                return
        names = stream.wanted[kind]
        if names is not None:
            names |= subscribed
            names -= set(request.resource_names_unsubscribe)
            for name in request.resource_names_unsubscribe:
                stream.sent.pop((kind, name), None)
        for name in subscribed:
            stream.sent.pop((kind, name), None)  # asked again: sent again
        if subscribed:
            stream.note(kind, subscribed)

    def _response(self, stream: _Stream, kind: str) -> Any | None:
        names = stream.pending.pop(kind, set())
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=kind)
        for name in sorted(names):
            encoded = self._resources.get((kind, name))
            if encoded is None:
                if stream.sent.pop((kind, name), None) is not None:
                    response.removed_resources.append(name)
            elif stream.sent.get((kind, name)) != encoded.version:
                stream.sent[kind, name] = encoded.version
                body = any_pb2.Any(type_url=kind, value=encoded.body)
                response.resources.add(name=name, version=encoded.version, resource=body)
        if not response.resources and not response.removed_resources:
            return None
        response.nonce = str(next(self._nonces))
        stream.unanswered[response.nonce] = kind
        return response

    async def _look_again(self) -> None:
        async with self._idle:
            self._idle.notify_all()
