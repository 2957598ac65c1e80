"""Hostile Pods over two real API servers: what the virtual one takes, the host never sees, and the tenant is told.

Numbers are those of the table in docs/security.md; each case alone is in tests/unit/hypervisor/test_tenant_cases.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, make, pod
from integration.sync.test_pods import events_about
from loft.core.resource import PODS, PVCS, SECRETS
from loft.hypervisor.core import objects

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]


def contained(**container: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "demo"} | container]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "c61-network": ({"hostNetwork": True}, "spec.hostNetwork"),
    "c61-privileged": (contained(securityContext={"privileged": True}), "privileged"),
    "c61-capability": (contained(securityContext={"capabilities": {"add": ["SYS_PTRACE"]}}), "capabilities.add"),
    "c61-port": (contained(ports=[{"containerPort": 80, "hostPort": 8080}]), "hostPort"),
    "c61-sysctl": ({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, "sysctls"),
    "c62-path": ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath"),
    "c63-csi": ({"volumes": [{"name": "v", "csi": {"driver": "a.example.org"}}]}, "csi"),
    "c63-git": ({"volumes": [{"name": "v", "gitRepo": {"repository": "a"}}]}, "gitRepo"),
    "c64-scheduler": ({"schedulerName": "mine"}, "schedulerName"),
}


def test_hostile_pods_stay_inside_and_are_told_field_and_rule(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        for name, (spec, _) in REFUSED.items():
            await scene.virtual.create(PODS, pod(ns, name, **spec))
        for name, (_, field) in REFUSED.items():

            async def told(name: str = name, field: str = field) -> Any:
                found = await events_about(scene, ns, name)
                return [event for event in found if event["type"] == "Warning" and field in event["message"]]

            assert (await eventually(told))[0]["reason"] == "SyncRefused", name
            condition = objects.find_condition(await scene.virtual.get(PODS, name, ns), "PodScheduled")
            assert condition["status"] == "False" and field in condition["message"], name
        await scene.syncer.settled()
        assert await scene.host_objects(PODS) == []

    tell(story)


def test_cases_65_67_68_72_names_marks_and_owners_are_ours(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        # A Secret of somebody else in the host namespace, and one inside that has its very name.
        foreign = scene.names.host("other", "registry")
        theirs = {"metadata": {"name": foreign, "namespace": scene.name}, "stringData": {"K": "theirs"}}
        await make(scene.host, SECRETS, theirs)
        mine = {"metadata": {"name": foreign, "namespace": ns}, "stringData": {"K": "mine"}}
        await make(scene.virtual, SECRETS, mine)
        body = pod(ns, **contained(envFrom=[{"secretRef": {"name": foreign}}]))
        body["metadata"] |= {
            "labels": {objects.MANAGED_BY: "other", "app.kubernetes.io/instance": scene.name},
            "annotations": {objects.OBJECT_UID: "forged", "k8s.v1.cni.cncf.io/networks": "forged"},
            "finalizers": ["example.org/hold"],
        }
        created = await scene.virtual.create(PODS, body)
        host = await scene.host_object(PODS, f"{ns}/web")
        metadata = host["metadata"]
        assert metadata["labels"][objects.MANAGED_BY] == scene.name
        assert metadata["annotations"][objects.OBJECT_UID] == created["metadata"]["uid"]
        assert "app.kubernetes.io/instance" not in metadata["labels"] and "finalizers" not in metadata
        assert not any("cni" in key for key in metadata["annotations"])
        used = host["spec"]["containers"][0]["envFrom"][0]["secretRef"]["name"]
        assert used != foreign
        assert objects.virtual_key(await scene.host.get(SECRETS, used, scene.name)) == f"{ns}/{foreign}"
        await scene.virtual.patch(PODS, "web", {"metadata": {"finalizers": None}}, ns)
        await scene.virtual.delete(PODS, "web", ns, grace_s=0)

        async def is_gone() -> bool:
            return await scene.host_objects(SECRETS) == []

        await eventually(is_gone)
        assert await scene.host.get(SECRETS, foreign, scene.name), "a stranger's object stays"

    tell(story)


def test_case_62_claims_on_what_is_not_the_tenants(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        for name, change in (("by-name", {"volumeName": "theirs"}), ("classless", {"storageClassName": ""})):
            body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec | change}
            await scene.virtual.create(PVCS, body | {"metadata": {"name": name, "namespace": ns}})

            async def told(name: str = name) -> Any:
                return [e for e in await events_about(scene, ns, name) if e["reason"] == "SyncRefused"]

            await eventually(told)
        await scene.syncer.settled()
        assert await scene.host_objects(PVCS) == []

    tell(story)
