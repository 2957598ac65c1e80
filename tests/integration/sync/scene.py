"""Two real API servers and a running Syncer: what the sync tests share. The test plays scheduler and kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from loft.core.resource import (
    CONFIGMAPS,
    ENDPOINTSLICES,
    INGRESSES,
    NAMESPACES,
    NETWORKPOLICIES,
    PODS,
    PVCS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import MANAGED_BY
from loft.hypervisor.settings import KINDS, OPTIONAL_KINDS, Settings
from loft.hypervisor.sync import Syncer
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists

Object = dict[str, Any]

NODE = "node-a"
NODE_IP = "192.0.2.10"


class Scene:
    """One virtual cluster `name` in host namespace `name`."""

    def __init__(self, host: Client, virtual: Client, name: str, **special: Any) -> None:
        self.host = host
        self.virtual = virtual
        self.name = name
        self.names = Names(name, name)
        self.settings = Settings(
            name=name,
            host_namespace=name,
            api_service_ip="10.96.0.77",
            dns_ip="10.96.0.78",
            node_idle_s=0.5,
            reservation_s=3.0,
            blocked_cidrs=("169.254.0.0/16",),
            ingress_hosts=("*.dev.example",),
            ingress_classes=(f"{name}-shown", "*"),
            priority_classes=(f"{name}-shown",),
            storage_classes=("*",),
            kinds=KINDS | OPTIONAL_KINDS,
            cluster_owner={
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "name": f"vc-{name}-{name}",
                "uid": "00000000-0000-0000-0000-000000000001",
            },
            **special,
        )
        self.syncer = Syncer(host, virtual, self.settings)

    async def prepare(self) -> None:
        await make(self.host, NAMESPACES, {"metadata": {"name": self.name}})
        account = {"metadata": {"name": self.settings.service_account, "namespace": self.name}}
        await make(self.host, SERVICEACCOUNTS, account)

    async def namespace(self, name: str) -> str:
        """Make a virtual namespace with what the controller-manager would put there."""
        await make(self.virtual, NAMESPACES, {"metadata": {"name": name}})
        await make(self.virtual, SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
        authority = {"metadata": {"name": "kube-root-ca.crt", "namespace": name}, "data": {"ca.crt": "virtual"}}
        await make(self.virtual, CONFIGMAPS, authority)
        return name

    async def clean(self) -> None:
        """Leave nothing inside that the next story's Syncer would sync."""
        for resource in (PODS, SERVICES, CONFIGMAPS, SECRETS, ENDPOINTSLICES, INGRESSES, NETWORKPOLICIES, PVCS):
            for item in (await self.virtual.list(resource, f"{self.name}-a")).items:
                await self.virtual.delete(resource, item["metadata"]["name"], f"{self.name}-a", grace_s=0)

    async def host_object(self, resource: Resource, key: str, **wait: Any) -> Object:
        """Wait for the host object of a virtual one."""
        namespace, name = key.split("/")
        return await eventually(lambda: self.host.find(resource, self.names.host(namespace, name), self.name), **wait)

    async def host_objects(self, resource: Resource) -> list[Object]:
        listed = await self.host.list(resource, self.name, label_selector=f"{MANAGED_BY}={self.name}")
        return listed.items

    async def play_scheduler(self, host_pod: Object, node: str = NODE) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": host_pod["metadata"]["name"], "namespace": self.name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self.host.create(PODS, body, subresource="binding")

    async def play_kubelet(self, host_pod: Object, **status: Any) -> None:
        container = host_pod["spec"]["containers"][0]
        change = {
            "phase": "Running",
            "hostIP": NODE_IP,
            "hostIPs": [{"ip": NODE_IP}],
            "podIP": "10.1.0.9",
            "podIPs": [{"ip": "10.1.0.9"}],
            "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "sha256:1",
                    "containerID": "containerd://1",
                    "ready": True,
                    "restartCount": 0,
                    "resources": container.get("resources") or {},
                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                }
            ],
        } | status
        name = host_pod["metadata"]["name"]
        await self.host.patch(PODS, name, {"status": change}, self.name, subresource="status")


async def make(client: Client, resource: Resource, body: Object) -> Object:
    """Create an object, or read it when it is there."""
    body = {"apiVersion": resource.api_version, "kind": resource.kind} | body
    try:
        return await client.create(resource, body)
    except AlreadyExists:
        return await client.get(resource, body["metadata"]["name"], body["metadata"].get("namespace", ""))


async def eventually(look: Callable[[], Awaitable[Any]], *, seconds: float = 10.0) -> Any:
    """Return the first truthy answer. Raises: AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = await look()
        if answer:
            return answer
        assert time.monotonic() < end, f"nothing after {seconds} s"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[Scene]:
    """Run the scene's Syncer."""
    await scene.prepare()
    task = asyncio.create_task(scene.syncer.run())
    try:
        await scene.syncer.settled()
        yield scene
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def pod(namespace: str, name: str = "web", **spec: Any) -> Object:
    """Return a small Pod."""
    body: Object = {"containers": [{"name": "main", "image": "demo"}]} | spec
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}
