"""What the sync engine sees: caches of both API servers, and how a virtual object and its host objects are paired.

Read side only. Host caches hold just the objects that carry this virtual cluster's label, so a stranger is never
even seen. Contents of ConfigMaps and Secrets are dropped from the virtual caches: most of them are never used by a
Pod, and those that are get read when they are synced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec

from loft.core.resource import EVENTS, NAMESPACES, NODES, PVS
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.pairing import Paired, belongs, pair
from loft.hypervisor.core.reflection import is_reflected
from loft.hypervisor.kinds import REGISTRY, event, issued, node, reference_key, references
from loft.hypervisor.kinds.classes import REFLECTIONS
from loft.hypervisor.kinds.custom import custom_kinds
from loft.hypervisor.kinds.endpointslice import service_key
from loft.hypervisor.kinds.networkpolicy import rules_egress, selects_namespaces
from loft.hypervisor.kinds.persistentvolumeclaim import claim_key
from loft.hypervisor.kinds.pod_placement import reaches_namespaces
from loft.hypervisor.kinds.pod_ports import has_taken_ports
from loft.hypervisor.kinds.storageclass import TO_HOST
from loft.hypervisor.settings import Settings
from loft.kube.client import Client
from loft.kube.informer import Informer, drop_managed_fields

CONTENT = frozenset({"ConfigMap", "Secret"})
"""Kinds whose contents are not cached on the virtual side."""

Index = Callable[[Object], list[str]]


def without_content(obj: Object) -> Object:
    """Keep the keys of a ConfigMap or Secret but not the values."""
    for field in ("data", "binaryData"):
        if obj.get(field):
            obj[field] = dict.fromkeys(obj[field], "")
    return drop_managed_fields(obj)


def labels_only(namespace: Object) -> Object:
    """Keep name and labels of a Namespace."""
    metadata = objects.metadata(namespace)
    return {"metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion", "labels") if key in metadata}}


def _some(value: str | None) -> list[str]:
    return [value] if value else []


def _node_of(pod: Object) -> list[str]:
    return _some(objects.spec(pod).get("nodeName"))


def _references_of(mapping: Mapping) -> Index:
    def index(obj: Object) -> list[str]:
        named = references(mapping, obj)
        return [f"{kind}/{reference_key(kind, objects.namespace(obj), name)}" for kind, name in named]

    return index


_VIRTUAL_INDEXES: dict[str, dict[str, Index]] = {
    "Pod": {"node": _node_of, "namespace": lambda pod: [objects.namespace(pod)]},
    "Service": {
        "namespace": lambda service: [objects.namespace(service)],
        "ip": lambda service: _some(objects.spec(service).get("clusterIP")),
    },
    "EndpointSlice": {"service": lambda item: _some(service_key(item))},
    "NetworkPolicy": {
        "across": lambda policy: ["namespaces"] if selects_namespaces(policy) else [],
        "namespace": lambda policy: [objects.namespace(policy)],
    },
}
_HOST_INDEXES: dict[str, Index] = {
    "key": lambda host: _some(f"{objects.annotations(host).get(objects.OBJECT_KIND, '')}:{objects.virtual_key(host)}"),
    "uid": lambda host: [objects.uid(host)],
}
_HOST_KIND_INDEXES: dict[str, dict[str, Index]] = {
    "Pod": {"node": _node_of},
    "Service": {
        "reserved": lambda host: (
            _some(objects.spec(host).get("clusterIP")) if objects.RESERVATION in objects.annotations(host) else []
        )
    },
}


class World:
    """The caches of one virtual cluster's sync."""

    def __init__(self, host: Client, virtual: Client, settings: Settings) -> None:
        self.settings = settings
        self.names = Names(settings.name, settings.host_namespace)
        self._clients = (host, virtual)
        builtin = {key: mapping for key, mapping in REGISTRY.items() if key in settings.kinds}
        custom = custom_kinds(settings.custom_resources, [*builtin])
        self.mappings = builtin | custom.mappings
        shown = {key: reflection for key, reflection in REFLECTIONS.items() if key in settings.kinds}
        self.reflections = shown | custom.reflections
        self.virtual: dict[str, Informer] = {}
        self.host: dict[str, Informer] = {}
        for key, mapping in self.mappings.items():
            if not mapping.gated:
                self.admit(key, self.caches(mapping))
        self.nodes = Informer(virtual, NODES)
        self.volumes = Informer(virtual, PVS, indexers={"claim": lambda volume: _some(claim_key(volume))})
        self.host_nodes = self._host_nodes(host) if settings.host_nodes else None
        self.namespaces = Informer(virtual, NAMESPACES, transform=labels_only)
        self.events = Informer(host, EVENTS, settings.host_namespace, transform=event.relevant)

    @property
    def issues_secrets(self) -> bool:
        """Whether controllers of the host may make Secrets for synced objects."""
        return "Secret" in self.mappings and any(mapping.is_issuing for mapping in self.mappings.values())

    def caches(self, mapping: Mapping) -> tuple[Informer, Informer]:
        """Return new caches of a kind, (host, virtual)."""
        host, virtual = self._clients
        return self._host(host, mapping), self._virtual(virtual, mapping)

    def admit(self, key: str, caches: tuple[Informer, Informer]) -> None:
        """Let the caches of a kind count. Those of a gated kind must be filled by then."""
        self.host[key], self.virtual[key] = caches

    def _virtual(self, client: Client, mapping: Mapping) -> Informer:
        transform = without_content if mapping.key in CONTENT else drop_managed_fields
        indexes = {"refs": _references_of(mapping)} | _VIRTUAL_INDEXES.get(mapping.key, {})
        if mapping.is_issuing:
            indexes["issued"] = self._issued_of(mapping)
        selector = mapping.seen_virtual
        return Informer(client, mapping.resource, label_selector=selector, indexers=indexes, transform=transform)

    def _issued_of(self, mapping: Mapping) -> Index:
        """Index by the Secrets that are issued for an object: by their keys inside, and as `host/NAME`."""

        def index(obj: Object) -> list[str]:
            namespace, found = objects.namespace(obj), issued(mapping, obj)
            keys = [f"{namespace}/{name}" for name in found]
            return keys + [f"host/{self.names.host(namespace, name)}" for name in found]

        return index

    def _host(self, client: Client, mapping: Mapping) -> Informer:
        indexes = _HOST_INDEXES | _HOST_KIND_INDEXES.get(mapping.key, {})
        selector = ",".join([*_some(mapping.seen_host), f"{objects.MANAGED_BY}={self.settings.name}"])
        namespace = self.settings.host_namespace
        if not mapping.resource.namespaced:
            selector, namespace = f"{selector},{objects.HOST_NAMESPACE}={namespace}", ""
        return Informer(client, mapping.resource, namespace, label_selector=selector, indexers=indexes)

    def _host_nodes(self, client: Client) -> Informer:
        return Informer(client, NODES, label_selector=self.settings.node_selector, transform=node.relevant)

    def informers(self) -> list[Informer]:
        """Return all caches that must be filled before anything is decided."""
        found = [*self.virtual.values(), *self.host.values()]
        if "Node" in self.settings.kinds:
            found += [self.nodes, *([self.host_nodes] if self.host_nodes else [])]
        if "PersistentVolumeClaim" in self.settings.kinds:
            found.append(self.volumes)
        if {"NetworkPolicy", "Pod"} & self.settings.kinds:
            found.append(self.namespaces)
        if "Event" in self.settings.kinds:
            found.append(self.events)
        return found

    def pair(self, kind: str, key: str) -> Paired:
        """Return the virtual object of a key and what the host has for it."""
        virtual = self.virtual[kind].get(key)
        made = self.host[kind].by_index("key", f"{kind}:{key}")
        reserved = self.reserved(virtual) if kind == "Service" and virtual is not None else []
        return pair(self.mappings[kind], virtual, made, reserved, self.names)

    def reserved(self, service: Object) -> list[Object]:
        """Return the host Services without an owner that were reserved for a virtual one."""
        address, cache = objects.spec(service).get("clusterIP") or "", self.host["Service"]
        found = (
            cache.by_index("reserved", address) if address else cache.by_index("key", f"Service:{objects.key(service)}")
        )
        return [host for host in found if not objects.owner_uid(host) and self._belongs("Service", service, host)]

    def _belongs(self, kind: str, virtual: Object, host: Object) -> bool:
        return belongs(self.mappings[kind], virtual, host)

    def context(self, kind: str, virtual: Object, reported: frozenset[str]) -> Context:
        """Return the facts that a plan for a virtual object needs."""
        base = Context(settings=self.settings, now=datetime.now(UTC), reported=reported)
        key = objects.key(virtual)
        if kind in CONTENT:
            return msgspec.structs.replace(base, used=self.is_used(kind, key))
        if kind == "EndpointSlice":
            return self._slice_context(virtual, base)
        if kind == "PersistentVolumeClaim":
            base = msgspec.structs.replace(base, volume=self._volume(virtual))
        if kind == "Pod":
            return self._pod_context(virtual, base)
        if kind == "NetworkPolicy" and selects_namespaces(virtual):
            known = {objects.name(item): objects.labels(item) for item in self.namespaces.list()}
            return msgspec.structs.replace(base, namespaces=known)
        base = msgspec.structs.replace(base, host_names=self._host_names(kind, virtual))
        if self.mappings[kind].is_issuing:
            return msgspec.structs.replace(base, own_secrets=self._own_secrets(kind, virtual))
        return base

    def is_used(self, kind: str, key: str) -> bool:
        """Whether a synced object names this ConfigMap or Secret."""
        return any(informer.by_index("refs", f"{kind}/{key}") for informer in self.virtual.values())

    def users(self, kind: str, key: str) -> Iterator[tuple[str, str]]:
        """Yield (kind, key) of the objects that name this one."""
        for user, informer in self.virtual.items():
            for obj in informer.by_index("refs", f"{kind}/{key}"):
                yield user, objects.key(obj)

    def issuing(self, index: str) -> list[tuple[str, Object]]:
        """Return (kind, virtual object) of those for which a Secret is issued, by a value of `_issued_of`."""
        kinds = [kind for kind, mapping in self.mappings.items() if mapping.is_issuing and kind in self.virtual]
        return [(kind, obj) for kind in kinds for obj in self.virtual[kind].by_index("issued", index)]

    def _own_secrets(self, kind: str, virtual: Object) -> frozenset[str]:
        """Return the names of Secrets that would be issued for an object, while the tenant has such of its own."""
        if "Secret" not in self.virtual:
            return frozenset()
        secrets, namespace = self.virtual["Secret"], objects.namespace(virtual)
        found = {name: secrets.get(f"{namespace}/{name}") for name in issued(self.mappings[kind], virtual)}
        return frozenset([name for name, secret in found.items() if secret is not None and not is_reflected(secret)])

    def _host_names(self, kind: str, virtual: Object) -> dict[str, str]:
        """Return host names that are not the usual ones.

        Those are of Services reserved for generated names, and of the tenant's own classes, "" while one is not there.
        """
        found = {}
        for target, name in references(self.mappings[kind], virtual):
            if target == "Service" and target in self.virtual:
                host = self.pair(target, f"{objects.namespace(virtual)}/{name}").host
                if host is not None and objects.name(host) != self.names.host(objects.namespace(virtual), name):
                    found[f"{target}/{name}"] = objects.name(host)
            elif target == TO_HOST and target in self.virtual:
                paired = self.pair(target, name)
                # A class that is not there yet may become the tenant's own: a claim waits for it as everywhere.
                if paired.virtual is None or not is_reflected(paired.virtual):
                    found[f"{target}/{name}"] = objects.name(paired.host) if paired.host else ""
        return found

    def _slice_context(self, virtual: Object, base: Context) -> Context:
        if "Service" not in self.virtual:
            return base
        paired = self.pair("Service", service_key(virtual))
        host = paired.host
        ready = host and paired.virtual and self._belongs("Service", paired.virtual, host)
        name = objects.name(host) if host and ready else ""
        return msgspec.structs.replace(base, service=paired.virtual, host_service=name)

    def _volume(self, claim: Object) -> Object | None:
        volumes = self.volumes.by_index("claim", objects.key(claim))
        own = [item for item in volumes if objects.spec(item)["claimRef"].get("uid") == objects.uid(claim)]
        return own[0] if own else None

    def _pod_context(self, pod: Object, base: Context) -> Context:
        namespace = objects.namespace(pod)
        services = self.virtual["Service"].by_index("namespace", namespace) if "Service" in self.virtual else []
        keys = {}
        for kind, name in references(self.mappings["Pod"], pod):
            if kind in CONTENT and kind in self.virtual:
                found = self.virtual[kind].get(f"{namespace}/{name}") or {}
                keys[f"{kind}/{name}"] = (*(found.get("data") or ()), *(found.get("binaryData") or ()))
        base = msgspec.structs.replace(
            base,
            services=tuple(services),
            env_from=keys,
            dns_ip=self.dns_ip(),
            egress_ruled=self._is_egress_ruled(pod),
            inner_resources=self._inner_resources(pod),
            ports_taken=has_taken_ports(pod, self._neighbours(pod)),
        )
        if reaches_namespaces(pod):
            known = {objects.name(item): objects.labels(item) for item in self.namespaces.list()}
            base = msgspec.structs.replace(base, namespaces=known)
        return base

    def _neighbours(self, pod: Object) -> list[Object]:
        name = objects.spec(pod).get("nodeName")
        return self.virtual["Pod"].by_index("node", name) if name else []

    def _inner_resources(self, pod: Object) -> frozenset[str]:
        if not self.settings.scheduler or self.host_nodes is None:
            return frozenset()
        name = objects.spec(pod).get("nodeName") or ""
        return node.inner_resources(self.nodes.get(name), self.host_nodes.get(name))

    def _is_egress_ruled(self, pod: Object) -> bool:
        if not self.settings.blocked_cidrs or "NetworkPolicy" not in self.virtual:
            return False
        policies = self.virtual["NetworkPolicy"].by_index("namespace", objects.namespace(pod))
        return any(rules_egress(policy, pod) for policy in policies)

    def dns_ip(self) -> str:
        """Return the address of the virtual cluster's name server, "" while it has none."""
        if self.settings.dns_ip or "Service" not in self.virtual:
            return self.settings.dns_ip
        service = self.virtual["Service"].get(self.settings.dns_service)
        address = objects.spec(service).get("clusterIP") if service else ""
        return "" if address in (None, "None") else str(address)

    def find_host(self, uid: str) -> tuple[str, Object] | None:
        """Return (kind, host object) of a host uid, None when it is not one of ours."""
        for kind, informer in self.host.items():
            for host in informer.by_index("uid", uid):
                return kind, host
        return None

    def find_virtual(self, kind: str, host: Object) -> Object | None:
        """Return the virtual object that a host object was made for, None when that is gone or another by now."""
        virtual = self.virtual[kind].get(objects.virtual_key(host))
        return virtual if virtual is not None and self._belongs(kind, virtual, host) else None
