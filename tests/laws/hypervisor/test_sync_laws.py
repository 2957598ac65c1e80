"""What holds for every history of tenant and host actions, whatever the kind."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laws.hypervisor.world import MAPPINGS, Refused, World
from loft.hypervisor.core import objects
from loft.hypervisor.core.names import host_name
from loft.hypervisor.core.plan import plan

pytestmark = pytest.mark.law

NAMES = st.sampled_from(["a", "a-x-b", "web.v1"])
NAMESPACES = st.sampled_from(["one", "b-x-one"])
WORDS = st.text("abcxyz0", min_size=1, max_size=5)
MAPS = st.dictionaries(WORDS, WORDS, max_size=3)

SECRET_WORD = "smuggled"
"""Put into fields nobody lists; it must never be seen on the host."""


def configmap(draw: Any) -> dict[str, Any]:
    return {"data": draw(MAPS)}


def secret(draw: Any) -> dict[str, Any]:
    kinds = ["Opaque", "kubernetes.io/tls", "kubernetes.io/service-account-token"]
    return {"data": draw(MAPS), "type": draw(st.sampled_from(kinds))}


def service(draw: Any) -> dict[str, Any]:
    ports = [{"port": port} for port in draw(st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True))]
    spec: dict[str, Any] = {"ports": ports, "clusterIP": "None"}
    spec |= {"selector": draw(MAPS)} if draw(st.booleans()) else {}
    spec |= {"externalIPs": ["192.0.2.1"]} if draw(st.integers(0, 5)) == 0 else {}
    return {"spec": spec}


def claim(draw: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"spec": spec | ({"storageClassName": draw(NAMES)} if draw(st.booleans()) else {})}


def storageclass(draw: Any) -> dict[str, Any]:
    keys = st.sampled_from(["type", "fsType", "csi.storage.k8s.io/provisioner-secret-name"])
    return {"provisioner": draw(WORDS), "parameters": draw(st.dictionaries(keys, WORDS, max_size=2))}


def budget(draw: Any) -> dict[str, Any]:
    amount = draw(st.sampled_from([{"minAvailable": 1}, {"minAvailable": "50%"}, {"maxUnavailable": 1}]))
    counted = {"observedGeneration": 1, "desiredHealthy": draw(st.integers(0, 3))}
    reason = draw(st.sampled_from(["SufficientPods", "SyncFailed"]))
    condition = {"type": "DisruptionAllowed", "status": "True", "reason": reason}
    return {
        "metadata": {"generation": 1},
        "spec": {"selector": {"matchLabels": draw(MAPS)}} | amount,
        "status": counted | {"conditions": [condition]} if draw(st.booleans()) else {},
    }


def snapshot(draw: Any) -> dict[str, Any]:
    content = {"volumeSnapshotContentName": "x"} if draw(st.integers(0, 4)) == 0 else {}
    return {"spec": {"source": content or {"persistentVolumeClaimName": draw(NAMES)}}}


def endpointslice(draw: Any) -> dict[str, Any]:
    return {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": True}}]}


def pod(draw: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": draw(WORDS)}
    if draw(st.booleans()):
        container["envFrom"] = [{"configMapRef": {"name": draw(NAMES)}}, {"secretRef": {"name": draw(NAMES)}}]
    spec: dict[str, Any] = {"containers": [container]}
    power = draw(st.integers(0, 11))
    if power < 4:
        spec |= [{"hostNetwork": True}, {"nodeName": "x"}, {"runtimeClassName": "x"}, {"hostPID": True}][power]
    return {"spec": spec}


def networkpolicy(draw: Any) -> dict[str, Any]:
    selector = {"matchLabels": draw(MAPS)} if draw(st.booleans()) else {}
    peer = draw(st.sampled_from(["podSelector", "namespaceSelector", "ipBlock"]))
    block = {"cidr": draw(st.sampled_from(["192.0.2.0/24", "10.0.0.0/8"]))}
    rule = {"from": [{peer: block if peer == "ipBlock" else selector}]} if draw(st.booleans()) else {}
    return {"spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [rule]}}


def ingress(draw: Any) -> dict[str, Any]:
    backend = {"service": {"name": draw(NAMES), "port": {"number": 80}}}
    name = draw(st.sampled_from(["a.dev.example", "b.dev.example", "elsewhere.example"]))
    rule = {"host": name, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    tls = [{"hosts": [name], "secretName": draw(NAMES)}] if draw(st.booleans()) else []
    return {"spec": {"rules": [rule], "tls": tls}}


def certificate(draw: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from(["ClusterIssuer", "ClusterIssuer", "Issuer"]))
    spec: dict[str, Any] = {"secretName": draw(NAMES), "issuerRef": {"kind": kind, "name": draw(WORDS)}}
    if draw(st.booleans()):
        spec["keystores"] = {"jks": {"passwordSecretRef": {"name": draw(NAMES)}}}
    return {"spec": spec | {"dnsNames": draw(st.lists(WORDS, max_size=2))}}


BODIES = {
    "Certificate.cert-manager.io": certificate,
    "Ingress": ingress,
    "NetworkPolicy": networkpolicy,
    "ConfigMap": configmap,
    "Secret": secret,
    "Service": service,
    "PersistentVolumeClaim": claim,
    "EndpointSlice": endpointslice,
    "Pod": pod,
    "PodDisruptionBudget": budget,
    "StorageClassToHost": storageclass,
    "VolumeSnapshot": snapshot,
}


def test_every_kind_takes_part_in_the_laws() -> None:
    assert set(BODIES) == set(MAPPINGS)


ACTS = ["put", "put", "put", "delete", "recreate", "lose", "schedule", "settle", "smuggle", "mark"]


@st.composite
def histories(draw: Any) -> list[tuple[str, Any]]:
    """Draw what tenant, host and nature do, in order."""
    history: list[tuple[str, Any]] = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(sorted(BODIES)))
        name, namespace = draw(NAMES), draw(NAMESPACES)
        what = draw(st.sampled_from(ACTS))
        resource = MAPPINGS[kind].resource
        metadata = {"name": name, "labels": draw(MAPS)} | ({"namespace": namespace} if resource.namespaced else {})
        if kind == "EndpointSlice":
            metadata["labels"] |= {"kubernetes.io/service-name": draw(NAMES)}
        drawn = BODIES[kind](draw)
        body = {"apiVersion": resource.api_version, "kind": resource.kind}
        history.append((what, body | drawn | {"metadata": metadata | drawn.get("metadata", {})}))
    return history


def act(world: World, what: str, body: dict[str, Any]) -> None:
    kind, metadata = body["kind"], body["metadata"]
    key = (kind, metadata.get("namespace", ""), metadata["name"])
    if what == "settle":
        world.settle()
    elif what in ("delete", "recreate"):
        world.virtual.delete(*key)
        if what == "recreate" and world.virtual.get(*key) is None:
            world.virtual.create(body)
    elif what == "lose":
        where = "vc" if metadata.get("namespace") else ""
        world.host.objects.pop((kind, where, host_name(body, world.names)), None)
    elif what == "schedule":
        for host in filter(world.is_ours, world.host.list("Certificate")):
            host["status"] = {"revision": 1, "message": objects.name(host), "secret": SECRET_WORD}
        for host in filter(world.is_ours, world.host.list("VolumeSnapshot")):
            host["status"] = {"readyToUse": True, "boundVolumeSnapshotContentName": SECRET_WORD}
        for host in filter(world.is_ours, world.host.list("Ingress")):
            host["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}
        for host in filter(world.is_ours, world.host.list("Pod")):
            host["spec"].setdefault("nodeName", "node-a")
            host["status"] = {"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}]}
    else:
        put(world, key, smuggled(body, fields=what == "smuggle") if what != "put" else body)


def put(world: World, key: tuple[str, str, str], body: dict[str, Any]) -> None:
    have = world.virtual.objects.get(key)
    if have is None:
        world.virtual.create(body)
    elif key[0] == "Pod":
        # Of a Pod only metadata and images can change.
        have["metadata"] |= {k: v for k, v in body["metadata"].items() if k not in ("name", "namespace")}
        have["spec"]["containers"][0]["image"] = body["spec"]["containers"][0]["image"]
    else:
        fresh = copy.deepcopy(body)
        fresh["metadata"]["uid"] = have["metadata"]["uid"]
        world.virtual.objects[key] = fresh


def smuggled(body: dict[str, Any], *, fields: bool) -> dict[str, Any]:
    """Add marks of ours, and with `fields` unknown fields, that must not cross."""
    body = copy.deepcopy(body)
    body["metadata"] |= {
        "annotations": {objects.OBJECT_UID: SECRET_WORD, "nginx.ingress.kubernetes.io/auth-url": SECRET_WORD},
        "ownerReferences": [{"name": SECRET_WORD, "uid": SECRET_WORD}],
        "finalizers": [f"{SECRET_WORD}/x"],
    }
    body["metadata"]["labels"] |= {objects.MANAGED_BY: SECRET_WORD + "-label"}
    if not fields:
        return body
    body["futureField"] = {"deep": [SECRET_WORD]}
    if "spec" in body:
        body["spec"]["futureField"] = SECRET_WORD
    return body


def stranger(world: World) -> dict[str, Any]:
    """Put an object of somebody else under every name the tenant could reach."""
    for mapping in MAPPINGS.values():
        metadata = {"name": world.names.cluster("a"), "uid": "foreign"}
        if mapping.resource.namespaced:
            metadata |= {"name": world.names.host("one", "a"), "namespace": "vc"}
        key = (mapping.kind, metadata.get("namespace", ""), metadata["name"])
        world.host.objects[key] = {"kind": mapping.kind, "metadata": metadata}
    return copy.deepcopy(world.host.objects)


def play(world: World, history: list[tuple[str, Any]]) -> None:
    for what, body in history:
        act(world, what, body)


relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def end_pods(world: World) -> None:
    """Play the kubelet: host Pods that were told to end are gone."""
    for key, host in list(world.host.objects.items()):
        if host["metadata"].get("deletionTimestamp"):
            del world.host.objects[key]


@relaxed
@given(histories())
def test_sides_converge_in_five_rounds_and_then_rest(history: list[tuple[str, Any]]) -> None:
    world = World()
    play(world, history)
    world.settle()
    end_pods(world)
    world.settle()
    writes = world.host.writes + world.virtual.writes
    assert world.round() == 0
    assert world.host.writes + world.virtual.writes == writes


@relaxed
@given(histories())
def test_the_host_has_what_living_tenants_objects_say_and_nothing_else(history: list[tuple[str, Any]]) -> None:
    world = World()
    play(world, history)
    world.settle()
    end_pods(world)
    world.settle()
    living = {objects.uid(obj) for obj in world.virtual.objects.values()}
    for host in world.host.objects.values():
        assert objects.owner_uid(host) in living
        namespace, _, name = objects.virtual_key(host).rpartition("/")
        virtual = world.virtual.get(host["kind"], namespace, name)
        assert virtual is not None and objects.uid(virtual) == objects.owner_uid(host)
        if host["kind"] == "ConfigMap":
            assert (host.get("data") or {}) == (virtual.get("data") or {})


@relaxed
@given(histories())
def test_unlisted_fields_and_foreign_marks_never_cross(history: list[tuple[str, Any]]) -> None:
    world = World()
    play(world, [("mark", body) if what == "put" else (what, body) for what, body in history])
    world.settle()
    for host in world.host.objects.values():
        text = json.dumps(host | {"status": None})
        assert SECRET_WORD not in text.replace(f"{SECRET_WORD}-label", "")
        assert host["metadata"]["labels"][objects.MANAGED_BY] == "dev"
    assert SECRET_WORD not in json.dumps([virtual.get("status") for virtual in world.virtual.objects.values()])
    for host in world.host.objects.values():
        owners = [] if host["metadata"].get("namespace") else [world.settings.cluster_owner]
        assert host["metadata"].get("ownerReferences", []) == owners and "finalizers" not in host["metadata"]


@relaxed
@given(histories())
def test_strangers_are_never_touched(history: list[tuple[str, Any]]) -> None:
    world = World()
    foreign = stranger(world)
    for what, body in history:
        for key in foreign:
            # A server refuses to create over a stranger; the engine must not do anything else to it.
            try:
                act(world, "put" if what in ("settle", "lose") else what, body)
                world.round()
            except Refused as refused:
                assert "exists" in str(refused)
            assert world.host.objects[key] == foreign[key]


@relaxed
@given(histories())
def test_plans_never_change_their_inputs(history: list[tuple[str, Any]]) -> None:
    world = World()
    for what, body in history:
        act(world, what, body)
        for mapping in MAPPINGS.values():
            for namespace, name in world.keys(mapping):
                paired = world.pair(mapping, namespace, name)
                context = world.context(mapping.key, paired.virtual)
                before = copy.deepcopy((paired.virtual, paired.host, context))
                plan(mapping, paired.virtual, paired.host, world.names, context)
                assert (paired.virtual, paired.host, context) == before


@relaxed
@given(histories())
def test_every_host_write_carries_the_uid_it_was_planned_for(history: list[tuple[str, Any]]) -> None:
    world = World()
    for what, body in history:
        act(world, what, body)
        for mapping in MAPPINGS.values():
            for namespace, name in world.keys(mapping):
                for step in world.steps(mapping, namespace, name):
                    if step.side == "host" and not hasattr(step.action, "body"):
                        key = (step.action.resource.kind, step.action.namespace, step.action.name)
                        assert step.action.uid == world.host.objects[key]["metadata"]["uid"]


def test_one_owner_for_every_field() -> None:
    for mapping in MAPPINGS.values():
        toward = {path for path in mapping.owned if path[0] != "status"}
        assert not toward & set(mapping.owned_back), mapping.kind


def test_a_recreated_object_never_shows_the_old_tenants_data() -> None:
    world = World()
    metadata = {"name": "a", "namespace": "one"}
    user = {"containers": [{"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "a"}}]}]}
    world.virtual.create({"apiVersion": "v1", "kind": "Pod", "metadata": dict(metadata), "spec": user})
    world.virtual.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict(metadata), "data": {"old": "x"}})
    world.settle()
    first = world.host.get("ConfigMap", "vc", world.names.host("one", "a"))
    assert first is not None and first["data"] == {"old": "x"}
    world.virtual.delete("ConfigMap", "one", "a")
    world.virtual.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict(metadata)})
    world.settle()
    second = world.host.get("ConfigMap", "vc", world.names.host("one", "a"))
    assert second is not None and "data" not in second
    assert objects.uid(second) != objects.uid(first)


def test_two_virtual_clusters_in_one_namespace_leave_each_other_alone() -> None:
    one, two = World("one"), World("two")
    two.host = one.host
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}}
    for world, port in ((one, 1), (two, 2)):
        world.virtual.create(copy.deepcopy(body) | {"spec": {"clusterIP": "None", "ports": [{"port": port}]}})
    one.settle()
    two.settle()
    assert one.round() == two.round() == 0
    assert len(one.host.objects) == 2
    one.virtual.delete("Service", "n", "s")
    one.settle()
    two.settle()
    assert [objects.labels(host)[objects.MANAGED_BY] for host in one.host.objects.values()] == ["two"]
