"""Two API servers in memory, as far as the sync engine can tell: uids, defaults, preconditions, graceful deletion.

This stands at the edge only, in place of a server; the engine is the real one. The same laws run against real API
servers in tests/integration/sync.
"""

from __future__ import annotations

import copy
import itertools
from datetime import UTC, datetime
from typing import Any

from loft.core.action import Apply, Create, Delete, Event, Patch
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.pairing import Paired, pair
from loft.hypervisor.core.plan import is_ours, plan, remove
from loft.hypervisor.core.reflection import is_reflected
from loft.hypervisor.core.side import Step
from loft.hypervisor.custom import CustomResource, CustomRule
from loft.hypervisor.kinds import REGISTRY, references
from loft.hypervisor.kinds.custom import custom_kinds
from loft.hypervisor.kinds.endpointslice import service_key
from loft.hypervisor.kinds.storageclass import TO_HOST
from loft.hypervisor.settings import Settings

Object = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


CERTIFICATE = CustomResource(
    group="cert-manager.io",
    version="v1",
    kind="Certificate",
    plural="certificates",
    rules=(
        CustomRule(copy="spec.{duration,dnsNames}"),
        CustomRule(ref="spec.secretName"),
        CustomRule(ref="spec.keystores.jks.passwordSecretRef.name", kind="Secret"),
        CustomRule(guard="spec.issuerRef.kind", one_of=("ClusterIssuer",)),
        CustomRule(copy="spec.issuerRef.name"),
        CustomRule(fixed="spec.revisionHistoryLimit", value=1),
    ),
    status=(CustomRule(copy="status.{notAfter,revision}"), CustomRule(text="status.message")),
)
MAPPINGS = REGISTRY | custom_kinds([CERTIFICATE], [*REGISTRY]).mappings
"""Every kind, and one that an administrator configured."""


class Refused(Exception):
    """What a server would answer with an error."""


class Server:
    """One API server; `side` begins its uids, so that a mix-up shows."""

    def __init__(self, side: str) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes = 0
        self._uids = (f"{side}-{number}" for number in itertools.count(1))

    def list(self, kind: str) -> list[Object]:
        return [obj for key, obj in self.objects.items() if key[0] == kind]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self.objects.get((kind, namespace, name))

    def create(self, body: Object) -> Object:
        body = copy.deepcopy(body)
        metadata = body["metadata"]
        key = (body["kind"], metadata.get("namespace", ""), metadata["name"])
        if key in self.objects:
            raise Refused(f"{key} exists")
        metadata["uid"] = next(self._uids)
        default(body)
        self.objects[key] = body
        self.writes += 1
        return body

    def patch(self, action: Patch) -> None:
        key = (action.resource.kind, action.namespace, action.name)
        have = self.objects.get(key)
        if have is None:
            return
        change = copy.deepcopy(action.patch)
        if action.uid and action.uid != have["metadata"]["uid"]:
            raise Refused(f"{key} is another object")
        self.objects[key] = merge(have, change, strategic=action.kind == "strategic")
        default(self.objects[key])
        self.writes += 1

    def delete(self, kind: str, namespace: str, name: str, uid: str = "", grace_s: int | None = None) -> None:
        have = self.get(kind, namespace, name)
        if have is None:
            return
        if uid and uid != have["metadata"]["uid"]:
            raise Refused("another object")
        self.writes += 1
        if kind == "Pod" and have["spec"].get("nodeName") and grace_s != 0:
            grace_s = 30 if grace_s is None else grace_s
            stamp = {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": grace_s}
            self.objects[(kind, namespace, name)] = have | {"metadata": have["metadata"] | stamp}
            return
        del self.objects[(kind, namespace, name)]


def merge(have: Any, change: Any, *, strategic: bool = False) -> Any:
    """Apply a merge patch; a strategic one merges conditions by type and containers by name."""
    if isinstance(change, dict):
        result = dict(have) if isinstance(have, dict) else {}
        for key, value in change.items():
            if value is None:
                result.pop(key, None)
            elif strategic and key in ("conditions", "containers", "initContainers", "ephemeralContainers"):
                result[key] = merge_list(result.get(key) or [], value, "type" if key == "conditions" else "name")
            else:
                result[key] = merge(result.get(key), value, strategic=strategic)
        return result
    if isinstance(change, list) and change and isinstance(change[0], dict) and "$patch" in change[0]:
        return change[1:]
    return change


def merge_list(have: list[Object], change: list[Object], by: str) -> list[Object]:
    items = {item[by]: item for item in have}
    for item in change:
        if item.get("$patch") == "delete":
            items.pop(item[by], None)
            continue
        items[item[by]] = merge(items.get(item[by], {}), item, strategic=True)
    return list(items.values())


def default(body: Object) -> None:
    """Fill in what an API server fills in: the trap for an engine that compares for equality."""
    spec = body.get("spec") or {}
    if body["kind"] == "Service":
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
    if body["kind"] == "Pod":
        spec.setdefault("schedulerName", "default-scheduler")
        spec.setdefault("dnsPolicy", "ClusterFirst")
        spec.setdefault("restartPolicy", "Always")
        tolerations = spec.setdefault("tolerations", [])
        if not any(item.get("key") == "node.kubernetes.io/not-ready" for item in tolerations):
            tolerations.append({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"})
        for container in spec.get("containers") or ():
            container.setdefault("imagePullPolicy", "Always")
        body.setdefault("status", {"phase": "Pending"})
    if body["kind"] == "Ingress":
        body.setdefault("status", {"loadBalancer": {}})
    if body["kind"] == "NetworkPolicy":
        for rule in spec.get("ingress") or ():
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")
    if body["kind"] == "Secret":
        body.setdefault("type", "Opaque")
    if body["kind"] == "PersistentVolumeClaim":
        spec.setdefault("volumeMode", "Filesystem")
        body.setdefault("status", {"phase": "Pending"})


class World:
    """One virtual cluster `dev` in host namespace `vc`."""

    def __init__(self, name: str = "dev") -> None:
        self.names = Names(name, "vc")
        self.settings = Settings(
            name=name,
            host_namespace="vc",
            api_service_ip="10.0.0.1",
            dns_ip="10.0.0.10",
            ingress_hosts=("*.dev.example",),
            cluster_owner={"kind": "ClusterRole", "name": "vc-vc-dev", "uid": "r"},
        )
        self.virtual = Server("virtual")
        self.host = Server("host")
        self.told: dict[str, set[str]] = {}

    def pair(self, mapping: Mapping, namespace: str, name: str) -> Paired:
        key = f"{namespace}/{name}" if namespace else name
        ours = [item for item in self.host.list(mapping.kind) if self.is_ours(item)]
        made = [
            host
            for host in ours
            if objects.virtual_key(host) == key and objects.annotations(host).get(objects.OBJECT_KIND) == mapping.key
        ]
        reserved = [host for host in ours if objects.RESERVATION in objects.annotations(host)]
        return pair(mapping, self.virtual.get(mapping.kind, namespace, name), made, reserved, self.names)

    def is_ours(self, host: Object) -> bool:
        return is_ours(host, self.names)

    def context(self, kind: str, virtual: Object | None) -> Context:
        reported = frozenset(self.told.get(objects.uid(virtual or {}), ()))
        facts: dict[str, Any] = {"dns_ip": self.settings.dns_ip}
        if virtual is not None and kind in ("ConfigMap", "Secret"):
            facts["used"] = any(
                (kind, objects.name(virtual)) in references(mapping, user)
                for mapping in MAPPINGS.values()
                for user in self.virtual.list(mapping.kind)
                if objects.namespace(user) == objects.namespace(virtual)
            )
        if virtual is not None and kind == "EndpointSlice" and service_key(virtual):
            paired = self.pair(MAPPINGS["Service"], *service_key(virtual).split("/"))
            facts["service"] = paired.virtual
            facts["host_service"] = objects.name(paired.host) if paired.host else ""
        if virtual is not None and kind == "PersistentVolumeClaim":
            facts["host_names"] = self.own_classes(virtual)
        if kind == "NetworkPolicy":
            facts["namespaces"] = {"one": {"abc": "x"}, "b-x-one": {}}
        return Context(settings=self.settings, now=NOW, reported=reported, **facts)

    def own_classes(self, claim: Object) -> dict[str, str]:
        """Return the host names of the tenant's classes that a claim names, "" for one that is not there."""
        mapping, found = MAPPINGS[TO_HOST], {}
        for kind, name in references(MAPPINGS["PersistentVolumeClaim"], claim):
            paired = self.pair(mapping, "", name)
            if paired.virtual is None or not is_reflected(paired.virtual):
                found[f"{kind}/{name}"] = objects.name(paired.host) if paired.host else ""
        return found

    def keys(self, mapping: Mapping) -> list[tuple[str, str]]:
        found = {(objects.namespace(item), objects.name(item)) for item in self.virtual.list(mapping.kind)}
        for host in self.host.list(mapping.kind):
            if self.is_ours(host) and objects.virtual_key(host):
                namespace, _, name = objects.virtual_key(host).rpartition("/")
                found.add((namespace, name))
        return sorted(found)

    def steps(self, mapping: Mapping, namespace: str, name: str) -> list[Step]:
        paired = self.pair(mapping, namespace, name)
        stale = [step for host in paired.stale for step in remove(mapping, host)]
        context = self.context(mapping.key, paired.virtual)
        return stale + plan(mapping, paired.virtual, paired.host, self.names, context)

    def round(self) -> int:
        """Reconcile every key once; return the number of steps done."""
        count = 0
        for mapping in MAPPINGS.values():
            for namespace, name in self.keys(mapping):
                for step in self.steps(mapping, namespace, name):
                    self.do(step)
                    count += 1
        return count

    def settle(self, rounds: int = 5) -> None:
        """Reconcile until nothing is left. Raises: AssertionError when that takes more rounds."""
        for _ in range(rounds):
            if not self.round():
                return
        left = [
            step for mapping in MAPPINGS.values() for key in self.keys(mapping) for step in self.steps(mapping, *key)
        ]
        assert not left, f"not settled after {rounds} rounds: {left}"

    def do(self, step: Step) -> None:
        server = self.host if step.side == "host" else self.virtual
        match step.action:
            case Create(resource, body, "binding"):
                pod = server.get("Pod", body["metadata"]["namespace"], body["metadata"]["name"])
                assert pod is not None and pod["metadata"]["uid"] == body["metadata"]["uid"]
                scheduled = [{"type": "PodScheduled", "status": "True"}]
                bound = {"spec": {"nodeName": body["target"]["name"]}, "status": {"conditions": scheduled}}
                key = (resource.kind, body["metadata"]["namespace"], body["metadata"]["name"])
                server.objects[key] = merge(pod, bound, strategic=True)
            case Create(_, body, _):
                server.create(body)
            case Patch():
                server.patch(step.action)
            case Delete(resource, namespace, name, uid, grace_s, _):
                server.delete(resource.kind, namespace, name, uid, grace_s)
            case Event(about, _, message, _):
                self.told.setdefault(objects.uid(about), set()).add(message)
            case Apply():
                raise AssertionError("no mapped kind is applied")
