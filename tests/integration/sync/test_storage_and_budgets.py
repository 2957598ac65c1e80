"""Classes, snapshots and budgets over two real API servers: what the host lacks is told, what it gets is taken up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, make
from loft.core.resource import CRDS, EVENTS, PODDISRUPTIONBUDGETS, PVCS, STORAGECLASSES, Resource
from loft.hypervisor import sync_gate
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import HOST_NAMESPACE, MANAGED_BY
from loft.hypervisor.kinds.volumesnapshot import VOLUMESNAPSHOTS

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]
Object = dict[str, Any]


def claim(namespace: str, **spec: Any) -> Object:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}} | spec
    return {"metadata": {"name": "data", "namespace": namespace}, "spec": body}


async def own_classes(scene: Scene) -> list[Object]:
    selector = f"{MANAGED_BY}={scene.name},{HOST_NAMESPACE}={scene.name}"
    return (await scene.host.list(STORAGECLASSES, label_selector=selector)).items


async def messages(scene: Scene, namespace: str, name: str) -> list[str]:
    found = await scene.virtual.list(EVENTS, namespace, field_selector=f"involvedObject.name={name}")
    return [item["message"] for item in found.items]


def test_a_claim_of_the_tenants_own_class_waits_for_it_and_names_it_as_the_host_does(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        name = f"{scene.name}-fast"
        bad = {"provisioner": "a.b/c", "parameters": {"csi.storage.k8s.io/node-stage-secret-name": "x"}}
        made = await make(scene.virtual, STORAGECLASSES, {"metadata": {"name": name}} | bad)
        await make(scene.virtual, PVCS, claim(ns, storageClassName=name))

        async def told() -> Any:
            return await messages(scene, "default", name)

        assert "node-stage-secret-name" in (await eventually(told))[0]
        await scene.syncer.settled()
        assert await scene.host_objects(PVCS) == [] and await own_classes(scene) == []
        await scene.virtual.delete(STORAGECLASSES, name)
        good = {"provisioner": "a.b/c", "parameters": {"type": "ssd"}, "volumeBindingMode": "WaitForFirstConsumer"}
        again = await make(scene.virtual, STORAGECLASSES, {"metadata": {"name": name}} | good)
        assert objects.uid(again) != objects.uid(made)
        host = await scene.host_object(PVCS, f"{ns}/data")
        [there] = await own_classes(scene)
        assert host["spec"]["storageClassName"] == objects.name(there)
        assert there["parameters"] == {"type": "ssd"} and there["volumeBindingMode"] == "WaitForFirstConsumer"
        assert there["metadata"]["ownerReferences"][0]["kind"] == "ClusterRole"
        assert await scene.virtual.find(STORAGECLASSES, objects.name(there)) is None, "it is there as the tenant's own"
        await scene.syncer.settled()
        before = [objects.metadata(item)["resourceVersion"] for item in (there, host)]
        scene.syncer.controllers["StorageClassToHost"].enqueue(name)
        scene.syncer.controllers["PersistentVolumeClaim"].enqueue(f"{ns}/data")
        await scene.syncer.settled()
        now = [(await own_classes(scene))[0], await scene.host.get(PVCS, objects.name(host), scene.name)]
        assert [objects.metadata(item)["resourceVersion"] for item in now] == before
        await scene.virtual.delete(STORAGECLASSES, name)

        async def is_gone() -> bool:
            return await own_classes(scene) == []

        await eventually(is_gone)

    tell(story)


def test_a_claim_without_a_class_shows_the_one_that_the_host_chose(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        name = f"{scene.name}-default"
        default = {"storageclass.kubernetes.io/is-default-class": "true"}
        await make(
            scene.host, STORAGECLASSES, {"metadata": {"name": name, "annotations": default}, "provisioner": "a/b"}
        )
        await make(scene.virtual, PVCS, claim(ns))

        async def is_shown() -> bool:
            found = await scene.virtual.get(PVCS, "data", ns)
            return bool(found["spec"].get("storageClassName") == name)

        await eventually(is_shown)
        await scene.host.delete(STORAGECLASSES, name)

    tell(story)


def test_a_budget_crosses_as_the_number_that_the_virtual_cluster_counted(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        spec = {"maxUnavailable": "25%", "selector": {"matchLabels": {"app": "web"}}}
        await make(scene.virtual, PODDISRUPTIONBUDGETS, {"metadata": {"name": "web", "namespace": ns}, "spec": spec})
        await scene.syncer.settled()
        assert await scene.host_objects(PODDISRUPTIONBUDGETS) == []

        async def count(desired: int) -> None:
            condition = {"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods"}
            condition |= {"lastTransitionTime": "2026-01-01T00:00:00Z", "message": ""}
            status = {"observedGeneration": 1, "desiredHealthy": desired, "currentHealthy": 4, "expectedPods": 4}
            change = {"status": status | {"disruptionsAllowed": 1, "conditions": [condition]}}
            await scene.virtual.patch(PODDISRUPTIONBUDGETS, "web", change, ns, subresource="status")

        await count(3)
        host = await scene.host_object(PODDISRUPTIONBUDGETS, f"{ns}/web")
        assert host["spec"]["minAvailable"] == 3 and "maxUnavailable" not in host["spec"]
        assert host["spec"]["selector"]["matchLabels"][objects.NAMESPACE] == ns
        await count(6)

        async def is_followed() -> bool:
            found = await scene.host.get(PODDISRUPTIONBUDGETS, objects.name(host), scene.name)
            return bool(found["spec"]["minAvailable"] == 6)

        await eventually(is_followed)
        await scene.virtual.delete(PODDISRUPTIONBUDGETS, "web", ns)

        async def is_gone() -> bool:
            return await scene.host_objects(PODDISRUPTIONBUDGETS) == []

        await eventually(is_gone)

    tell(story)


def definition(resource: Resource) -> Object:
    """Return a definition like that of the snapshot project, as far as it matters here."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    approved = {"api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/1"}
    names = {"kind": resource.kind, "plural": resource.plural}
    return {
        "metadata": {"name": f"{resource.plural}.{resource.group}", "annotations": approved},
        "spec": {"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def test_snapshots_begin_when_the_host_gets_them(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_gate, "PROBE_S", 0.3)

    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await scene.syncer.settled()
        assert "VolumeSnapshot" not in scene.syncer.controllers, "the host has no such kind, and all else works"
        await make(scene.virtual, CRDS, definition(VOLUMESNAPSHOTS))
        body = {"metadata": {"name": "before", "namespace": ns}}
        body |= {"spec": {"source": {"persistentVolumeClaimName": "data"}}}

        async def is_made() -> Any:
            try:
                return await make(scene.virtual, VOLUMESNAPSHOTS, body)
            except Exception:  # until the definition is served
                return None

        await eventually(is_made)

        async def is_told() -> Any:
            return await messages(scene, ns, "before")

        assert "the host cluster has no kind volumesnapshots.snapshot.storage.k8s.io" in (await eventually(is_told))[0]
        await scene.virtual.delete(CRDS, f"{VOLUMESNAPSHOTS.plural}.{VOLUMESNAPSHOTS.group}")
        await make(scene.host, CRDS, definition(VOLUMESNAPSHOTS))
        # Its definition is put inside, for there is none any more.
        await eventually(is_made, seconds=30)
        host = await scene.host_object(VOLUMESNAPSHOTS, f"{ns}/before", seconds=30)
        assert host["spec"]["source"]["persistentVolumeClaimName"] == scene.names.host(ns, "data")
        status = {"status": {"readyToUse": True, "boundVolumeSnapshotContentName": "snapcontent-1"}}
        await scene.host.patch(VOLUMESNAPSHOTS, objects.name(host), status, scene.name, subresource="status")

        async def is_ready() -> Any:
            found = await scene.virtual.get(VOLUMESNAPSHOTS, "before", ns)
            return found.get("status") == {"readyToUse": True}

        await eventually(is_ready)
        await scene.virtual.delete(VOLUMESNAPSHOTS, "before", ns)

        async def is_gone() -> bool:
            return await scene.host_objects(VOLUMESNAPSHOTS) == []

        await eventually(is_gone)
        for client in (scene.host, scene.virtual):
            await client.delete(CRDS, f"{VOLUMESNAPSHOTS.plural}.{VOLUMESNAPSHOTS.group}")

    tell(story)
