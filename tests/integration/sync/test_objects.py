"""Services, configuration and claims over two real API servers: reservation, re-creation, strangers, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, make, pod, running
from loft.core.resource import CONFIGMAPS, ENDPOINTSLICES, EVENTS, PODS, PVCS, PVS, SERVICES
from loft.hypervisor.core import objects

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]


def service(namespace: str, name: str = "web", **spec: Any) -> dict[str, Any]:
    body = {"ports": [{"port": 80}], "selector": {"app": name}} | spec
    return {"metadata": {"name": name, "namespace": namespace}, "spec": body}


async def reserve(scene: Scene, name: str) -> dict[str, Any]:
    """Do what admission does before a virtual Service exists."""
    metadata = {
        "name": name,
        "namespace": scene.name,
        "labels": {objects.MANAGED_BY: scene.name},
        "annotations": {objects.RESERVATION: "true"},
    }
    return await make(scene.host, SERVICES, {"metadata": metadata, "spec": {"ports": [{"port": 80}]}})


def test_a_reserved_service_is_adopted_by_its_address(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        reserved = await reserve(scene, "some-name")
        address = reserved["spec"]["clusterIP"]
        virtual = await scene.virtual.create(SERVICES, service(ns, clusterIP=address))

        async def adopted() -> Any:
            found = await scene.host.get(SERVICES, "some-name", scene.name)
            return found if objects.owner_uid(found) == objects.uid(virtual) else None

        host = await eventually(adopted)
        assert objects.RESERVATION not in objects.annotations(host)
        assert host["spec"]["selector"] == {
            "label.vcluster.loft.sh/app": "web",
            objects.MANAGED_BY: scene.name,
            objects.NAMESPACE: ns,
        }
        assert len(await scene.host_objects(SERVICES)) == 1
        await scene.virtual.delete(SERVICES, "web", ns)

        async def is_gone() -> bool:
            return not await scene.host_objects(SERVICES)

        await eventually(is_gone)

    tell(story)


def test_an_unclaimed_reservation_is_released(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        await reserve(scene, "orphan")

        async def is_gone() -> bool:
            return await scene.host.find(SERVICES, "orphan", scene.name) is None

        await eventually(is_gone)

    tell(story)


def test_a_service_lost_on_the_host_comes_back_with_its_address(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        reserved = await reserve(scene, "r")
        await scene.virtual.create(SERVICES, service(ns, clusterIP=reserved["spec"]["clusterIP"]))
        await scene.syncer.settled()
        await scene.host.delete(SERVICES, "r", scene.name)
        host = await scene.host_object(SERVICES, f"{ns}/web", seconds=15)
        assert host["spec"]["clusterIP"] == reserved["spec"]["clusterIP"]

    tell(story)


def test_a_changed_service_is_changed_on_the_host_and_removed_fields_go(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        timeout = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 50}}}
        await scene.virtual.create(SERVICES, service(ns, clusterIP="None", **timeout))
        await scene.host_object(SERVICES, f"{ns}/web")
        change = {
            "spec": {
                "sessionAffinity": "None",
                "sessionAffinityConfig": None,
                "selector": {"app": None, "role": "db"},
                "ports": [{"port": 81, "name": "a"}, {"port": 82, "name": "b"}],
            }
        }
        await scene.virtual.patch(SERVICES, "web", change, ns)

        async def followed() -> Any:
            found = await scene.host_object(SERVICES, f"{ns}/web")
            return found if len(found["spec"]["ports"]) == 2 else None

        spec = (await eventually(followed))["spec"]
        assert "sessionAffinityConfig" not in spec and "label.vcluster.loft.sh/app" not in spec["selector"]
        name = scene.names.host(ns, "web")
        await scene.host.patch(SERVICES, name, {"spec": {"type": "ClusterIP"}}, scene.name)
        await scene.syncer.settled()
        before = (await scene.host.get(SERVICES, name, scene.name))["metadata"]["resourceVersion"]
        scene.syncer.controllers["Service"].enqueue(f"{ns}/web")
        await scene.syncer.settled()
        assert (await scene.host.get(SERVICES, name, scene.name))["metadata"]["resourceVersion"] == before

    tell(story)


def test_hand_made_endpoints_follow_their_service(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await scene.virtual.create(SERVICES, service(ns, "outside", clusterIP="None", selector=None))
        endpoints = {
            "metadata": {"name": "outside-1", "namespace": ns, "labels": {"kubernetes.io/service-name": "outside"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["192.0.2.50"], "conditions": {"ready": True}}],
        }
        await make(scene.virtual, ENDPOINTSLICES, endpoints)
        host = await scene.host_object(ENDPOINTSLICES, f"{ns}/outside-1")
        assert host["metadata"]["labels"]["kubernetes.io/service-name"] == scene.names.host(ns, "outside")
        assert host["endpoints"][0]["addresses"] == ["192.0.2.50"]
        await scene.virtual.delete(ENDPOINTSLICES, "outside-1", ns)

        async def is_gone() -> bool:
            return not await scene.host_objects(ENDPOINTSLICES)

        await eventually(is_gone)

    tell(story)


def test_a_recreated_configmap_shows_nothing_of_the_old_one(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await scene.virtual.create(PODS, pod(ns, volumes=[{"name": "c", "configMap": {"name": "cfg"}}]))
        await make(scene.virtual, CONFIGMAPS, {"metadata": {"name": "cfg", "namespace": ns}, "data": {"old": "1"}})
        first = await scene.host_object(CONFIGMAPS, f"{ns}/cfg")
        await scene.virtual.delete(CONFIGMAPS, "cfg", ns)
        second = await make(scene.virtual, CONFIGMAPS, {"metadata": {"name": "cfg", "namespace": ns}})

        async def replaced() -> Any:
            found = await scene.host.find(CONFIGMAPS, scene.names.host(ns, "cfg"), scene.name)
            return found if found and objects.owner_uid(found) == objects.uid(second) else None

        host = await eventually(replaced)
        assert objects.uid(host) != objects.uid(first) and "data" not in host

    tell(story)


def test_a_stranger_of_our_name_is_left_alone_and_told(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        name = scene.names.host(ns, "web")
        foreign = await make(scene.host, SERVICES, service(scene.name, name, clusterIP="None"))
        await scene.virtual.create(SERVICES, service(ns, clusterIP="None"))

        async def told() -> Any:
            events = (await scene.virtual.list(EVENTS, ns)).items
            return [event for event in events if event["reason"] == "HostNameTaken"]

        assert name in (await eventually(told))[0]["message"]
        await scene.virtual.delete(SERVICES, "web", ns)
        await scene.syncer.settled()
        assert await scene.host.get(SERVICES, name, scene.name) == foreign

    tell(story)


def test_a_bound_claim_shows_its_volume_and_both_go_together(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await make(scene.virtual, PVCS, {"metadata": {"name": "data", "namespace": ns}, "spec": spec})
        host = await scene.host_object(PVCS, f"{ns}/data")
        name = host["metadata"]["name"]
        volume = f"pvc-{host['metadata']['uid']}"
        bound = {"spec": {"volumeName": volume, "storageClassName": "local-path"}}
        await scene.host.patch(PVCS, name, bound, scene.name)
        status = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
        await scene.host.patch(PVCS, name, {"status": status}, scene.name, subresource="status")

        async def is_bound() -> Any:
            found = await scene.virtual.get(PVCS, "data", ns)
            return found if found["status"].get("phase") == "Bound" else None

        claim = await eventually(is_bound)
        await scene.syncer.settled()
        assert claim["spec"]["volumeName"] == volume and claim["spec"]["storageClassName"] == "local-path"
        shown = await scene.virtual.get(PVS, volume)
        assert shown["status"]["phase"] == "Bound" and shown["spec"]["claimRef"]["uid"] == objects.uid(claim)
        # Without a controller-manager nobody takes the protection finalizer off.
        await scene.virtual.patch(PVCS, "data", {"metadata": {"finalizers": None}}, ns)
        await scene.virtual.delete(PVCS, "data", ns)

        async def is_released() -> Any:
            found = await scene.virtual.find(PVS, volume)
            if found is None:
                return True
            await scene.virtual.patch(PVS, volume, {"metadata": {"finalizers": None}})
            return False

        await eventually(is_released)

        async def is_gone() -> Any:
            found = await scene.host.find(PVCS, name, scene.name)
            if found and objects.is_deleting(found):
                await scene.host.patch(PVCS, name, {"metadata": {"finalizers": None}}, scene.name)
            return found is None

        await eventually(is_gone)

    tell(story)


def test_a_new_process_finds_what_happened_while_none_was_running(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        other = Scene(scene.host, scene.virtual, f"{scene.name}-b")
        other_ns = ns
        async with running(other):
            for name in ("kept", "gone"):
                await scene.virtual.create(SERVICES, service(other_ns, name, clusterIP="None"))
                await other.host_object(SERVICES, f"{other_ns}/{name}")
        await scene.virtual.delete(SERVICES, "gone", other_ns)
        await scene.virtual.patch(SERVICES, "kept", {"spec": {"ports": [{"port": 99}]}}, other_ns)
        await scene.virtual.create(SERVICES, service(other_ns, "new", clusterIP="None"))
        again = Scene(scene.host, scene.virtual, other.name)
        async with running(again):
            await again.syncer.settled()
            found = {objects.virtual_key(item): item for item in await again.host_objects(SERVICES)}
            assert set(found) == {f"{other_ns}/kept", f"{other_ns}/new"}
            assert found[f"{other_ns}/kept"]["spec"]["ports"][0]["port"] == 99

    tell(story)


def test_many_services_at_once_are_synced_while_they_are_made(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        loop = asyncio.get_running_loop()
        started = loop.time()
        for block in range(10):
            bodies = [service(ns, f"s{block}-{number}", clusterIP="None") for number in range(20)]
            await asyncio.gather(*[scene.virtual.create(SERVICES, body) for body in bodies])
        made_s = loop.time() - started

        async def all_there() -> bool:
            return len(scene.syncer.world.host["Service"].list()) == 200

        await eventually(all_there, seconds=30)
        assert loop.time() - started < 3 * made_s + 1

    tell(story)
