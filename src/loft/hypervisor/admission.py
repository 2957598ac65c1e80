"""Answers the virtual API server's admission reviews of Services: makes the host Service first.

Served on connections that the egress proxy hands over, so nothing but the virtual API server can reach it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from loft.core.resource import SERVICES
from loft.hypervisor.admission_plan import Allow, Amend, Decision, Reserve, address_patch, decide, reservation
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.texts import virtual_text
from loft.hypervisor.egress_rules import Target
from loft.hypervisor.http1 import Connection, Exchange
from loft.hypervisor.serving import secured
from loft.hypervisor.splice import Stream
from loft.hypervisor.sync_world import World
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, Invalid
from loft.kube.failpoint import failpoint

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 8 * 1024 * 1024
PATH = "/services"
FREED_WAIT_S = 3.0
"""How long to wait for an address that a Service of this virtual cluster, deleted a moment ago, still holds."""
FREED_LOOK_S = 0.1

_decoder = msgspec.json.Decoder(dict[str, Any])


class ServiceAdmission:
    """The admission webhook of one virtual cluster."""

    def __init__(self, host: Client, world: World, *, context: Callable[[], ssl.SSLContext]) -> None:
        """`context` returns the current TLS context."""
        self._host = host
        self._world = world
        self._names = world.names
        self._context = context
        self.counts: dict[str, int] = {"allowed": 0, "reserved": 0, "amended": 0, "refused": 0}

    async def serve(self, _: Target, stream: Stream) -> None:
        """Serve one connection until it ends."""
        if await secured(stream, self._context(), "webhook connection"):
            await Connection(*stream).serve(self._handle)

    async def _handle(self, exchange: Exchange) -> None:
        if exchange.request.method != "POST" or exchange.request.path != PATH:
            await exchange.respond(404, b"not found")
            return
        try:
            review = _decoder.decode(await exchange.body(BODY_BYTES_MAX))
            request = dict(review["request"])
            uid = str(request["uid"])
        except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
            await exchange.respond(400, f"not an AdmissionReview: {error}".encode())
            return
        answer = {"uid": uid} | await self.review(request)
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
        await exchange.respond(200, msgspec.json.encode(body), "application/json")

    async def review(self, request: Object) -> Object:
        """Return the response to one review, without its uid. A refusal has the host's reason in virtual words."""
        service = request.get("object") or {}
        try:
            host = await self._act(self._decision(request), request)
        except ApiError as error:
            self.counts["refused"] += 1
            message = virtual_text(error.message, self._about(request), _named(request), self._names)
            code = error.status if 400 <= error.status < 500 else 503
            status = {"code": code, "message": f"the host cluster does not give this Service an address: {message}"}
            return {"allowed": False, "status": status}
        patch = address_patch(service, host) if host else []
        if not patch:
            return {"allowed": True}
        return {
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(msgspec.json.encode(patch)).decode(),
        }

    def _decision(self, request: Object) -> Decision:
        namespace, name = str(request.get("namespace") or ""), str(request.get("name") or "")
        key = f"{namespace}/{name}"
        present = self._world.virtual["Service"].get(key) if name else None
        exists = present is not None and not objects.is_deleting(present)
        uid = objects.uid(request.get("oldObject") or {})
        own = self._world.pair("Service", key).host if uid and present and objects.uid(present) == uid else None
        if own is not None and self._world.find_virtual("Service", own) is None:
            own = None
        targets = {item.target for item in self._world.settings.from_host}
        if key in targets and objects.is_mapped(request.get("object") or {}):
            # It has the address of a Service that the host has already.
            return Allow()
        return decide(request, own, exists=exists)

    async def _act(self, decision: Decision, request: Object) -> Object | None:
        if isinstance(decision, Reserve):
            self.counts["reserved"] += 1
            return await self._reserve(decision.spec, request)
        if isinstance(decision, Amend):
            self.counts["amended"] += 1
            patch = {"metadata": {"uid": decision.uid}, "spec": decision.spec}
            return await self._host.patch(SERVICES, decision.name, patch, self._names.host_namespace)
        self.counts["allowed"] += 1
        return None

    async def _reserve(self, spec: Object, request: Object) -> Object:
        body = reservation(request, spec, self._names, self._facts())
        loop = asyncio.get_running_loop()
        end = loop.time() + FREED_WAIT_S
        while True:
            try:
                await failpoint("hypervisor.reserve.services.before")
                made = await self._host.create(SERVICES, body)
                await failpoint("hypervisor.reserve.services.after")
                return made
            except AlreadyExists:
                # A host Service of an earlier virtual one, or of a create at the same time: any other name will do.
                unique = self._names.internal("service", str(request["uid"]))
                if body["metadata"]["name"] == unique:
                    raise
                body["metadata"]["name"] = unique
            except Invalid:
                if loop.time() > end or not self._held_by_us(spec):
                    raise
                await asyncio.sleep(FREED_LOOK_S)

    def _held_by_us(self, spec: Object) -> bool:
        """Whether a fixed address or node port is held by a Service of ours that is about to go."""
        address = spec.get("clusterIP")
        ports = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
        for host in self._world.host["Service"].list():
            holds = address and objects.spec(host).get("clusterIP") == address
            holds = holds or any(port.get("nodePort") in ports for port in objects.spec(host).get("ports") or ())
            virtual = self._world.find_virtual("Service", host)
            if holds and (virtual is None or objects.is_deleting(virtual)):
                return True
        return False

    def _facts(self) -> Context:
        return Context(settings=self._world.settings, now=datetime.now(UTC))

    def _about(self, request: Object) -> Object:
        namespace, name = str(request.get("namespace") or ""), str(request.get("name") or "")
        return {"metadata": {"name": self._names.host(namespace, name), "namespace": self._names.host_namespace}}


def _named(request: Object) -> Object:
    return {"metadata": {"name": str(request.get("name") or ""), "namespace": str(request.get("namespace") or "")}}
