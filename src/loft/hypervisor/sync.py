"""The sync engine of one virtual cluster: caches of both sides, one queue for each kind, plans, writes.

Nothing is polled: a change on either side puts the key of the virtual object into its kind's queue, and the plan
for that key says what is left to do. All deciding code is in core/ and kinds/; this room only looks and writes.

Guarantees: no write before every cache is filled; one reconcile at a time for each object; an error on one object
never stops another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from loft.core.action import Action, Create, Patch
from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step
from loft.hypervisor.kinds import reference_key, references
from loft.hypervisor.kinds.event import involved_uid
from loft.hypervisor.kinds.networkpolicy import rules_egress
from loft.hypervisor.kinds.persistentvolumeclaim import claim_key, plan_volume
from loft.hypervisor.kinds.pod_status import BINDING
from loft.hypervisor.kinds.storageclass import TO_HOST
from loft.hypervisor.settings import Settings
from loft.hypervisor.sync_events import Events
from loft.hypervisor.sync_gate import Gates
from loft.hypervisor.sync_issued import Issued
from loft.hypervisor.sync_mapped import MappedServices
from loft.hypervisor.sync_nodes import Nodes
from loft.hypervisor.sync_objects import Objects
from loft.hypervisor.sync_reflections import Reflected
from loft.hypervisor.sync_tokens import Tokens
from loft.hypervisor.sync_world import World
from loft.hypervisor.sync_writes import Writer
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.keep import lasting

WORKERS = 8
ECHO_S = 0.05
"""How long the echo of a write takes to come back through a watch, at least; `settled` waits for it."""

PREPARED = frozenset({"ConfigMap", "Secret", "PersistentVolumeClaim"})
"""Kinds that must be on the host before what names them."""

Changed = Callable[[str, Object | None, Object | None], None]


class Syncer:
    """Keeps one virtual cluster and its host namespace in step."""

    def __init__(self, host: Client, virtual: Client, settings: Settings) -> None:
        self.settings = settings
        self.world = World(host, virtual, settings)
        self._writer = Writer(host, virtual, self.world.names)
        self._objects = Objects((host, virtual), self.world, self._writer)
        self._tokens = Tokens(virtual, self.world, self._writer)
        self._nodes = Nodes(self.world, self._writer)
        self._events = Events(self.world, self._writer)
        self._issued = Issued((host, virtual), self.world, self._writer) if self.world.issues_secrets else None
        self._objects.prepare = {kind: partial(self._prepare, kind) for kind in self.world.mappings} | {
            "Pod": self._prepare_pod
        }
        self.controllers = {kind: self._controller(kind) for kind in self.world.virtual}
        self._gates = Gates((host, virtual), settings, self._writer)
        if "Service" in self.world.virtual:
            self.controllers["Reservation"] = Controller("reservations", self._objects.release)
        if "Node" in settings.kinds:
            self.controllers["Node"] = Controller("nodes", self._nodes.reconcile)
        if "PersistentVolumeClaim" in settings.kinds:
            self.controllers["PersistentVolume"] = Controller("volumes", self._reconcile_volume)
        if "Event" in settings.kinds:
            self.controllers["Event"] = Controller("events", self._events.reconcile)
        if self._issued:
            self.controllers["Issued"] = self._issued.controller
        self._reflected = [
            Reflected((host, virtual), reflection, self._gates, self._writer)
            for reflection in self.world.reflections.values()
        ]
        maps = "Service" in settings.kinds
        self._mapped = [MappedServices((host, virtual), self.world, self._writer)] if maps else []
        self._started = asyncio.Event()
        self._reconciled = 0

    def _controller(self, kind: str) -> Controller:
        async def reconcile(key: str) -> float | None:
            self._reconciled += 1
            return await (self._reconcile_pod(key) if kind == "Pod" else self._objects.reconcile(kind, key))

        return Controller(kind.lower(), reconcile, workers=WORKERS)

    async def run(self) -> None:
        """Sync until cancelled."""
        async with asyncio.TaskGroup() as group:
            informers = self.world.informers() + ([self._issued.informer] if self._issued else [])
            for informer in informers:
                group.create_task(lasting(f"cache of {informer.resource.plural}", informer.run))
            for informer in informers:
                await informer.synced()
            self._subscribe()
            for controller in self.controllers.values():
                group.create_task(lasting(controller.name, controller.run))
            for reflected in self._reflected:
                group.create_task(reflected.run())
            for mapped in self._mapped:
                group.create_task(mapped.run())
            for kind, mapping in self.world.mappings.items():
                if mapping.gated:
                    group.create_task(self._run_gated(kind, mapping))
            self._started.set()

    async def _run_gated(self, kind: str, mapping: Mapping) -> None:
        """Sync a kind once both sides have it."""
        await self._gates.wait(mapping.resource, mapping)
        caches = self.world.caches(mapping)
        async with asyncio.TaskGroup() as group:
            for informer in caches:
                group.create_task(informer.run())
            for informer in caches:
                await informer.synced()
            self.world.admit(kind, caches)
            self.controllers[kind] = self._controller(kind)
            self._subscribe_to(kind)
            group.create_task(self.controllers[kind].run())

    async def settled(self) -> None:
        """Wait until nothing is left to do that is known now; objects refused or waited for do not count."""
        await self._started.wait()
        calm = 0
        while calm < 2:
            before = self._reconciled
            for controller in [*self.controllers.values()]:
                await controller.idle()
            for reflected in self._reflected:
                await reflected.controller.idle()
            for mapped in self._mapped:
                await mapped.idle()
            await asyncio.sleep(ECHO_S)
            calm = calm + 1 if before == self._reconciled else 0

    # What a change puts into which queue

    def _subscribe(self) -> None:
        for kind in self.world.virtual:
            self._subscribe_to(kind)
        if self._issued:
            self._issued.subscribe()
        if "Node" in self.controllers:
            self.world.nodes.subscribe(self._key_changed("Node"))
            if self.world.host_nodes:
                self.world.host_nodes.subscribe(self._host_node_changed)
        if "PersistentVolume" in self.controllers:
            self.world.volumes.subscribe(self._volume_changed)
        if "NetworkPolicy" in self.controllers:
            self.world.namespaces.subscribe(self._namespace_changed)
        if "Event" in self.controllers:
            self.world.events.subscribe(self._event_changed)

    def _subscribe_to(self, kind: str) -> None:
        self.world.virtual[kind].subscribe(self._virtual_changed(kind))
        self.world.host[kind].subscribe(self._host_changed(kind))

    def _enqueue(self, kind: str, key: str) -> None:
        if key and kind in self.controllers:
            self.controllers[kind].enqueue(key)

    def _key_changed(self, kind: str) -> Changed:
        def changed(key: str, old: Object | None, new: Object | None) -> None:
            self._enqueue(kind, key)

        return changed

    def _virtual_changed(self, kind: str) -> Changed:
        def changed(key: str, old: Object | None, new: Object | None) -> None:
            self._enqueue(kind, key)
            self._uses_changed(kind, old, new)
            self._issued_changed(kind, key, (old, new))
            if kind == "Pod":
                self._node_changed(old, new)
            elif kind == "Service":
                self._service_changed(key, old, new)
            elif kind == TO_HOST:
                self._users_of(kind, key)
            elif kind == "NetworkPolicy":
                self._policy_changed(old, new)
            elif kind == "PersistentVolumeClaim" and new is None:
                for volume in self.world.volumes.by_index("claim", key):
                    self._enqueue("PersistentVolume", objects.name(volume))
            if new is None and old is not None:
                self._writer.forget(objects.uid(old))

        return changed

    def _issued_changed(self, kind: str, key: str, sides: tuple[Object | None, ...]) -> None:
        """Look at the Secrets that the host issues for an object, or at the objects for which it issues one."""
        if self._issued is None:
            return
        if self.world.mappings[kind].is_issuing:
            for side in sides:
                self._issued.object_changed((kind, side) if side else None)
        elif kind == "Secret":
            for user, user_key in self._issued.secret_changed(key):
                self._enqueue(user, user_key)

    def _uses_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """Look at what an object has named and names no more; what it begins to name is prepared for it."""
        if old is None or (new is not None and kind == "Pod"):
            # What a Pod names never changes.
            return
        mapping = self.world.mappings[kind]
        before, after = references(mapping, old), references(mapping, new) if new else []
        for target, name in {*before} ^ {*after}:
            self._enqueue(target, reference_key(target, objects.namespace(old), name))

    def _service_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        self._service_users(key)
        if new is None and old is not None:
            for host in self.world.reserved(old):
                self._objects.claimed(host)
                self._enqueue("Reservation", objects.key(host))
        if key == self.settings.dns_service and new is not None and "Pod" in self.world.virtual:
            for pod in self.world.virtual["Pod"].list():
                self._enqueue("Pod", objects.key(pod))

    def _service_users(self, key: str) -> None:
        """Look at what carries the host name of a Service."""
        if "EndpointSlice" in self.world.virtual:
            for item in self.world.virtual["EndpointSlice"].by_index("service", key):
                self._enqueue("EndpointSlice", objects.key(item))
        self._users_of("Service", key)

    def _users_of(self, kind: str, key: str) -> None:
        for user, user_key in self.world.users(kind, key):
            self._enqueue(user, user_key)

    def _host_changed(self, kind: str) -> Changed:
        def changed(key: str, old: Object | None, new: Object | None) -> None:
            host = new or old or {}
            virtual_key = objects.virtual_key(host)
            self._enqueue(objects.annotations(host).get(objects.OBJECT_KIND, kind), virtual_key)
            if self._issued and self.world.mappings[kind].is_issuing:
                virtual = self.world.virtual[kind].get(virtual_key)
                self._issued.object_changed((kind, virtual) if virtual else None)
            if kind == "Pod":
                self._node_changed(old, new)
            elif kind == TO_HOST:
                self._users_of(kind, virtual_key)
            elif kind == "Service":
                self._host_service_changed(key, virtual_key, host)

        return changed

    def _host_service_changed(self, key: str, virtual_key: str, host: Object) -> None:
        if objects.RESERVATION in objects.annotations(host):
            self._enqueue("Reservation", key)
            for service in self.world.virtual["Service"].by_index("ip", objects.spec(host).get("clusterIP") or ""):
                self._enqueue("Service", objects.key(service))
        else:
            self._service_users(virtual_key)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """Look at a Node when a Pod came to it, left it, or told its address."""
        before, after = _place(old), _place(new)
        if before != after:
            for name, _ in {before, after}:
                self._enqueue("Node", name)

    def _host_node_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        if self.settings.all_nodes or self.world.nodes.get(key) is not None:
            self._enqueue("Node", key)

    def _namespace_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        """Look at the policies that select namespaces when one of these came, went, or has other labels."""
        if old is None or new is None or objects.labels(old) != objects.labels(new):
            for policy in self.world.virtual["NetworkPolicy"].by_index("across", "namespaces"):
                self._enqueue("NetworkPolicy", objects.key(policy))

    def _policy_changed(self, old: Object | None, new: Object | None) -> None:
        """Look at the Pods whose egress a policy rules, or has ruled; where there is no boundary nobody asks."""
        if self.settings.blocked_cidrs and "Pod" in self.world.virtual:
            for pod in self.world.virtual["Pod"].by_index("namespace", objects.namespace(new or old or {})):
                if any(policy and rules_egress(policy, pod) for policy in (old, new)):
                    self._enqueue("Pod", objects.key(pod))

    def _volume_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        self._enqueue("PersistentVolume", key)
        self._enqueue("PersistentVolumeClaim", claim_key(new or old or {}))

    def _event_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        if new is not None and involved_uid(new):
            self._enqueue("Event", key)

    # Kinds with more than one object to look after

    async def _reconcile_pod(self, key: str) -> float | None:
        again_s = await self._objects.reconcile("Pod", key)
        paired = self.world.pair("Pod", key)
        await self._tokens.remove(key)
        if paired.virtual is None or paired.host is None:
            return again_s
        due_s = await self._tokens.renew(paired.virtual)
        return min((wait_s for wait_s in (again_s, due_s) if wait_s is not None), default=None)

    async def _prepare_pod(self, pod: Object, steps: list[Step]) -> None:
        """Put in place what a Pod needs: configuration and tokens before it is made, its Node before it is bound.

        An ephemeral container may use configuration that none of the others did.
        """
        for step in steps:
            action = step.action
            if isinstance(action, Create) and action.subresource == BINDING and "Node" in self.controllers:
                await self._nodes.ensure(action.body["target"]["name"])
            elif step.side == "host" and _starts_containers(action):
                await asyncio.gather(self._tokens.ensure(pod), self._prepare("Pod", pod, steps))

    async def _prepare(self, kind: str, virtual: Object, steps: list[Step]) -> None:
        """Put what an object names on the host before it is made or changed there."""
        if any(step.side == "host" for step in steps):
            used = references(self.world.mappings[kind], virtual)
            keys = [(target, f"{objects.namespace(virtual)}/{name}") for target, name in used]
            await asyncio.gather(
                *[
                    self._objects.reconcile(target, key)
                    for target, key in keys
                    if target in PREPARED & {*self.world.virtual}
                ]
            )

    async def _reconcile_volume(self, name: str) -> None:
        volume = self.world.volumes.get(name)
        if volume is not None:
            claim = self.world.virtual["PersistentVolumeClaim"].get(claim_key(volume))
            await self._writer.execute(plan_volume(volume, claim))


def _starts_containers(action: Action) -> bool:
    """Whether containers begin by this write: with a Pod, or added to one."""
    return isinstance(action, Create) or (isinstance(action, Patch) and action.subresource == "ephemeralcontainers")


def _place(pod: Object | None) -> tuple[str, str]:
    """Return (node, address) of a Pod as far as it has them."""
    if pod is None:
        return ("", "")
    return (objects.spec(pod).get("nodeName") or "", objects.status(pod).get("hostIP") or "")
