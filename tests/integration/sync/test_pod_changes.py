"""What changes about a Pod that runs, over two real API servers: debuggers, sizes, gates, labels, force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import NODE, Scene, eventually, make, pod
from integration.sync.test_pods import events_about, run_pod
from loft.core.resource import LIMITRANGES, NODES, PODS, SECRETS
from loft.hypervisor.core import objects

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]


def test_a_debugger_joins_the_host_pod_and_brings_what_it_uses(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        host, _ = await run_pod(scene, ns)
        await make(scene.virtual, SECRETS, {"metadata": {"name": "tools", "namespace": ns}, "stringData": {"K": "v"}})
        debugger = {
            "name": "debugger",
            "image": "demo",
            "stdin": True,
            "targetContainerName": "main",
            "envFrom": [{"secretRef": {"name": "tools"}}],
        }
        await scene.virtual.patch(
            PODS,
            "web",
            {"spec": {"ephemeralContainers": [debugger]}},
            ns,
            "strategic",
            subresource="ephemeralcontainers",
        )

        async def joined() -> Any:
            found = await scene.host.get(PODS, host["metadata"]["name"], scene.name)
            return found["spec"].get("ephemeralContainers")

        there = (await eventually(joined))[0]
        assert there["targetContainerName"] == "main"
        secret = await scene.host.get(SECRETS, there["envFrom"][0]["secretRef"]["name"], scene.name)
        assert objects.virtual_key(secret) == f"{ns}/tools"
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        status = {"name": "debugger", "image": "demo", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        await scene.play_kubelet(host, ephemeralContainerStatuses=[status])

        async def shown() -> Any:
            return (await scene.virtual.get(PODS, "web", ns))["status"].get("ephemeralContainerStatuses")

        assert (await eventually(shown))[0]["state"]["running"] == state["running"]

    tell(story)


def test_a_debugger_with_power_is_refused_where_kubectl_looks(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        host, _ = await run_pod(scene, ns)
        strong = {"name": "strong", "image": "demo", "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}
        await scene.virtual.patch(
            PODS, "web", {"spec": {"ephemeralContainers": [strong]}}, ns, "strategic", subresource="ephemeralcontainers"
        )

        async def shown() -> Any:
            return (await scene.virtual.get(PODS, "web", ns))["status"].get("ephemeralContainerStatuses")

        waiting = (await eventually(shown))[0]["state"]["waiting"]
        assert waiting["reason"] == "SyncRefused" and "capabilities.add" in waiting["message"]
        assert any("capabilities.add" in event["message"] for event in await events_about(scene, ns, "web"))
        await scene.syncer.settled()
        assert "ephemeralContainers" not in (await scene.host.get(PODS, host["metadata"]["name"], scene.name))["spec"]

    tell(story)


def test_a_resize_goes_there_and_its_outcome_comes_back(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        amounts = {"cpu": "8", "memory": "8Gi", "pods": "10"}
        status = {"capacity": amounts, "allocatable": amounts}
        await make(scene.host, NODES, {"metadata": {"name": NODE}, "status": status})
        small = {"name": "main", "image": "demo", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}
        host, _ = await run_pod(scene, ns, containers=[small])
        name = host["metadata"]["name"]
        bigger = {"name": "main", "resources": {"limits": {"cpu": "500m"}}}
        await scene.virtual.patch(
            PODS, "web", {"spec": {"containers": [bigger]}}, ns, "strategic", subresource="resize"
        )

        async def resized() -> Any:
            found = await scene.host.get(PODS, name, scene.name)
            return found if found["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "500m" else None

        seen = await eventually(resized)
        pending = {"type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "node is full"}
        stamp = {"observedGeneration": seen["metadata"]["generation"]}
        await scene.host.patch(
            PODS,
            name,
            {"status": stamp | {"conditions": [pending | stamp]}},
            scene.name,
            "strategic",
            subresource="status",
        )

        async def told() -> Any:
            virtual = await scene.virtual.get(PODS, "web", ns)

            return virtual if objects.find_condition(virtual, "PodResizePending") else None

        virtual = await eventually(told)
        assert objects.find_condition(virtual, "PodResizePending")["message"] == "node is full"
        assert virtual["status"]["observedGeneration"] == virtual["metadata"]["generation"]
        gone = {"status": {"conditions": [{"type": "PodResizePending", "$patch": "delete"}]}}
        await scene.host.patch(PODS, name, gone, scene.name, "strategic", subresource="status")
        actual = {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
        container = {"name": "main", "image": "demo", "imageID": "", "ready": True, "restartCount": 0}
        status = container | {"resources": actual, "allocatedResources": {"cpu": "100m"}}
        await scene.host.patch(
            PODS, name, {"status": {"containerStatuses": [status]}}, scene.name, "strategic", subresource="status"
        )

        async def done() -> Any:
            virtual = await scene.virtual.get(PODS, "web", ns)
            is_over = not objects.find_condition(virtual, "PodResizePending")
            return is_over and virtual["status"]["containerStatuses"][0].get("resources") == actual

        await eventually(done)

    tell(story)


def test_a_resize_that_the_host_refuses_holds_up_nothing_else(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        small = {"name": "main", "image": "demo", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}
        host, _ = await run_pod(scene, ns, containers=[small])
        limit = {"limits": [{"type": "Container", "max": {"cpu": "300m"}}]}
        await make(
            scene.host,
            LIMITRANGES,
            {"metadata": {"name": "small", "namespace": scene.name}, "spec": limit},
        )
        bigger = {"name": "main", "resources": {"limits": {"cpu": "4"}}}
        await scene.virtual.patch(
            PODS, "web", {"spec": {"containers": [bigger]}}, ns, "strategic", subresource="resize"
        )
        await scene.virtual.patch(PODS, "web", {"metadata": {"labels": {"tier": "b"}}}, ns)

        async def told() -> Any:
            return [e for e in await events_about(scene, ns, "web") if e["reason"] == "HostRefused"]

        assert "300m" in (await eventually(told))[0]["message"]

        async def labelled() -> Any:
            found = await scene.host.get(PODS, host["metadata"]["name"], scene.name)
            return found["metadata"]["labels"].get("label.vcluster.loft.sh/tier")

        assert await eventually(labelled) == "b"
        virtual = await scene.virtual.get(PODS, "web", ns)
        assert objects.find_condition(virtual, "PodScheduled")["status"] == "True"

    tell(story)


def test_a_gate_opened_inside_makes_the_host_pod_ready(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        gate = "example.org/balanced"
        host, _ = await run_pod(scene, ns, readinessGates=[{"conditionType": gate}])
        assert host["spec"]["readinessGates"] == [{"conditionType": gate}]
        opened = {"status": {"conditions": [{"type": gate, "status": "True", "reason": "Registered"}]}}
        await scene.virtual.patch(PODS, "web", opened, ns, "strategic", subresource="status")

        async def told() -> Any:
            return objects.find_condition(await scene.host.get(PODS, host["metadata"]["name"], scene.name), gate)

        assert (await eventually(told))["status"] == "True"
        closed = {"status": {"conditions": [{"type": gate, "status": "False", "reason": None}]}}
        await scene.virtual.patch(PODS, "web", closed, ns, "strategic", subresource="status")

        async def closed_there() -> Any:
            return (await told())["status"] == "False"

        await eventually(closed_there)
        await scene.syncer.settled()
        assert objects.find_condition(await scene.virtual.get(PODS, "web", ns), gate)["status"] == "False"

    tell(story)


def test_force_frees_the_name_for_the_successor(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        host, first = await run_pod(scene, ns, terminationGracePeriodSeconds=300)
        await scene.virtual.delete(PODS, "web", ns, grace_s=0)
        await scene.virtual.create(PODS, pod(ns))

        async def ends() -> Any:
            found = await scene.host.get(PODS, host["metadata"]["name"], scene.name)
            return found if objects.is_deleting(found) else None

        assert (await eventually(ends))["metadata"]["deletionGracePeriodSeconds"] == 1
        await scene.host.delete(PODS, host["metadata"]["name"], scene.name, grace_s=0)

        async def successor() -> Any:
            found = await scene.host.find(PODS, host["metadata"]["name"], scene.name)
            return found if found and objects.owner_uid(found) != objects.uid(first) else None

        await eventually(successor)

    tell(story)


def test_labels_that_change_change_in_the_files_of_the_pod(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        items = [
            {"path": path, "fieldRef": {"fieldPath": f"metadata.{field}"}}
            for path, field in (("labels", "labels"), ("notes", "annotations"), ("one", "annotations['note']"))
        ]
        host, _ = await run_pod(scene, ns, volumes=[{"name": "info", "downwardAPI": {"items": items}}])
        volume = next(item for item in host["spec"]["volumes"] if item["name"] == "info")
        keys = [item["fieldRef"]["fieldPath"].split("'")[1] for item in volume["downwardAPI"]["items"]]
        change = {"metadata": {"labels": {"app": "other"}, "annotations": {"note": "né \u00a0"}}}
        await scene.virtual.patch(PODS, "web", change, ns)

        async def followed() -> Any:
            found = await scene.host.get(PODS, host["metadata"]["name"], scene.name)
            texts = [objects.annotations(found).get(key) for key in keys]
            return texts == ['app="other"', 'note="né \\u00a0"', "né \u00a0"]

        await eventually(followed)

    tell(story)
