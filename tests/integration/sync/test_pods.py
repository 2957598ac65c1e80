"""A Pod's whole life over two real API servers; the test is the host's scheduler and kubelet."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import NODE, NODE_IP, Scene, eventually, make, pod
from loft.core.resource import CONFIGMAPS, EVENTS, LIMITRANGES, NODES, PODS, SECRETS, TOKENREVIEWS
from loft.hypervisor.core import objects

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]


async def run_pod(
    scene: Scene, namespace: str, name: str = "web", **spec: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Create a Pod and bring it to Running; return (host Pod, virtual Pod)."""
    await scene.virtual.create(PODS, pod(namespace, name, **spec))
    host = await scene.host_object(PODS, f"{namespace}/{name}")
    await scene.play_scheduler(host)
    await scene.play_kubelet(host)

    async def is_running() -> Any:
        found = await scene.virtual.get(PODS, name, namespace)
        return found if found["status"].get("phase") == "Running" and found["spec"].get("nodeName") else None

    return host, await eventually(is_running)


async def events_about(scene: Scene, namespace: str, name: str) -> list[dict[str, Any]]:
    return (await scene.virtual.list(EVENTS, namespace, field_selector=f"involvedObject.name={name}")).items


def test_a_pod_runs_on_the_host_with_all_it_uses(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        for key in ("used", "unused"):
            await make(scene.virtual, CONFIGMAPS, {"metadata": {"name": key, "namespace": ns}, "data": {"k": key}})
            await make(scene.virtual, SECRETS, {"metadata": {"name": key, "namespace": ns}, "stringData": {"k": key}})
        volumes = [{"name": "c", "configMap": {"name": "used"}}, {"name": "s", "secret": {"secretName": "used"}}]
        host, virtual = await run_pod(scene, ns, volumes=volumes)
        await scene.syncer.settled()
        assert virtual["spec"]["nodeName"] == NODE
        assert virtual["status"]["podIPs"] == [{"ip": "10.1.0.9"}] and virtual["status"]["hostIP"] == NODE_IP
        assert virtual["status"]["containerStatuses"][0]["ready"] is True
        assert host["spec"]["serviceAccountName"] == scene.settings.service_account
        assert host["spec"]["automountServiceAccountToken"] is False
        names = {objects.virtual_key(item) for item in await scene.host_objects(CONFIGMAPS)}
        assert names == {f"{ns}/used", f"{ns}/kube-root-ca.crt"}
        kinds = {
            (objects.virtual_key(i), i["metadata"]["annotations"][objects.OBJECT_KIND])
            for i in await scene.host_objects(SECRETS)
        }
        assert kinds == {(f"{ns}/used", "Secret"), (f"{ns}/web", "Pod")}
        node = await scene.virtual.get(NODES, NODE)
        assert {"type": "InternalIP", "address": NODE_IP} in node["status"]["addresses"]
        assert node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250

    tell(story)


def test_a_pods_token_is_good_at_its_own_api_server_only(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await scene.virtual.create(PODS, pod(ns))
        host = await scene.host_object(PODS, f"{ns}/web")
        sources = next(v for v in host["spec"]["volumes"] if "projected" in v)["projected"]["sources"]
        named = next(source["secret"] for source in sources if "secret" in source)
        secret = await scene.host.get(SECRETS, named["name"], scene.name)
        token = base64.b64decode(secret["data"][named["items"][0]["key"]]).decode()
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": {},
            "spec": {"token": token},
        }
        inside = await scene.virtual.create(TOKENREVIEWS, dict(review))
        assert inside["status"]["user"]["username"] == f"system:serviceaccount:{ns}:default"
        assert inside["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["web"]
        outside = await scene.host.create(TOKENREVIEWS, dict(review))
        assert not outside["status"].get("authenticated")

    tell(story)


def test_deletion_is_graceful_and_ends_when_the_host_pod_is_gone(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        host, _ = await run_pod(scene, ns)
        await scene.virtual.delete(PODS, "web", ns, grace_s=7)

        async def is_ending() -> Any:
            found = await scene.host.get(PODS, host["metadata"]["name"], scene.name)
            return found if objects.is_deleting(found) else None

        assert (await eventually(is_ending))["metadata"]["deletionGracePeriodSeconds"] == 7
        await scene.syncer.settled()
        assert await scene.virtual.find(PODS, "web", ns), "the virtual pod goes after the host pod"
        await scene.host.delete(PODS, host["metadata"]["name"], scene.name, grace_s=0)

        async def is_gone() -> bool:
            return await scene.virtual.find(PODS, "web", ns) is None

        await eventually(is_gone)
        await scene.syncer.settled()
        assert await scene.host_objects(SECRETS) == [] and await scene.host_objects(CONFIGMAPS) == []

        async def is_node_gone() -> bool:
            return await scene.virtual.find(NODES, NODE) is None

        await eventually(is_node_gone)

    tell(story)


def test_a_pod_evicted_on_the_host_is_gone_inside_too(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        host, _ = await run_pod(scene, ns)
        await scene.host.delete(PODS, host["metadata"]["name"], scene.name, grace_s=0)

        async def is_gone() -> bool:
            return await scene.virtual.find(PODS, "web", ns) is None

        await eventually(is_gone)
        assert await scene.host_objects(PODS) == []

    tell(story)


def test_a_pod_with_power_on_the_host_is_refused_by_name(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await scene.virtual.create(PODS, pod(ns, "root", hostNetwork=True, hostPID=True))

        async def told() -> Any:
            return len(found := await events_about(scene, ns, "root")) >= 2 and found

        messages = " ".join(event["message"] for event in await eventually(told))
        assert "spec.hostNetwork" in messages and "spec.hostPID" in messages and "Pod Security baseline" in messages
        condition = objects.find_condition(await scene.virtual.get(PODS, "root", ns), "PodScheduled")
        assert condition["status"] == "False" and condition["reason"] == "SyncRefused"
        await scene.syncer.settled()
        assert await scene.host_objects(PODS) == []

    tell(story)


def test_what_the_host_refuses_is_told_inside(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        limit = {"limits": [{"type": "Container", "max": {"cpu": "100m"}}]}
        await make(scene.host, LIMITRANGES, {"metadata": {"name": "small", "namespace": scene.name}, "spec": limit})
        big = {"name": "main", "image": "demo", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}
        await scene.virtual.create(PODS, pod(ns, "big", containers=[big]))

        async def told() -> Any:
            return [e for e in await events_about(scene, ns, "big") if e["reason"] == "HostRefused"]

        message = (await eventually(told))[0]["message"]
        assert "100m" in message and scene.names.host(ns, "big") not in message
        condition = objects.find_condition(await scene.virtual.get(PODS, "big", ns), "PodScheduled")
        assert "100m" in condition["message"]

    tell(story)


def test_host_events_come_back_in_the_tenants_words(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        host, virtual = await run_pod(scene, ns)
        name = host["metadata"]["name"]
        event = {
            "metadata": {"name": f"{name}.1", "namespace": scene.name},
            "involvedObject": {"kind": "Pod", "name": name, "namespace": scene.name, "uid": host["metadata"]["uid"]},
            "reason": "Scheduled",
            "message": f"Successfully assigned {scene.name}/{name} to {NODE}",
            "type": "Normal",
            "source": {"component": "default-scheduler"},
            "count": 1,
        }
        await make(scene.host, EVENTS, event)

        async def told() -> Any:
            return [e for e in await events_about(scene, ns, "web") if e["reason"] == "Scheduled"]

        seen = (await eventually(told))[0]
        assert seen["message"] == f"Successfully assigned {ns}/web to {NODE}"
        assert seen["involvedObject"]["uid"] == virtual["metadata"]["uid"]

    tell(story)


def test_labels_and_images_follow_and_a_settled_pod_costs_no_write(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        host, _ = await run_pod(scene, ns)
        change = {"metadata": {"labels": {"app": None, "tier": "b"}}}
        await scene.virtual.patch(PODS, "web", change, ns)
        images = {"spec": {"containers": [{"name": "main", "image": "demo:2"}]}}
        await scene.virtual.patch(PODS, "web", images, ns, "strategic")

        async def followed() -> Any:
            found = await scene.host.get(PODS, host["metadata"]["name"], scene.name)
            return found if found["spec"]["containers"][0]["image"] == "demo:2" else None

        labels = (await eventually(followed))["metadata"]["labels"]
        await scene.syncer.settled()
        labels = (await scene.host.get(PODS, host["metadata"]["name"], scene.name))["metadata"]["labels"]
        assert labels["label.vcluster.loft.sh/tier"] == "b" and "label.vcluster.loft.sh/app" not in labels
        before = [
            (await c.get(PODS, n, s))["metadata"]["resourceVersion"]
            for c, n, s in ((scene.host, host["metadata"]["name"], scene.name), (scene.virtual, "web", ns))
        ]
        scene.syncer.controllers["Pod"].enqueue(f"{ns}/web")
        await scene.syncer.settled()
        after = [
            (await c.get(PODS, n, s))["metadata"]["resourceVersion"]
            for c, n, s in ((scene.host, host["metadata"]["name"], scene.name), (scene.virtual, "web", ns))
        ]
        assert before == after

    tell(story)
