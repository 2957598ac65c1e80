"""metrics.k8s.io inside, from a host that serves the group: what the virtual API server's users see of it.

The host's figures are objects of a custom resource here, since there is no kubelet to measure anything; group, paths
and rights are the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from integration.virtualcluster.bed import Bed
from integration.virtualcluster.test_control_plane import eventually
from loft.core.resource import APISERVICES, CRDS, DEPLOYMENTS, PODS, SERVICES, Resource
from loft.hypervisor.core import objects
from loft.hypervisor.metrics_plan import PODMETRICS
from loft.kube.client import Client
from loft.kube.errors import AlreadyExists, ApiError, NotFound
from loft.kube.request import Request

pytestmark = pytest.mark.integration
Object = dict[str, Any]

AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
ROOT = "/apis/metrics.k8s.io/v1beta1"


async def serve_group(host: Client) -> None:
    """Have the host serve PodMetrics."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "pods.metrics.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
        },
        "spec": {
            "group": "metrics.k8s.io",
            "scope": "Namespaced",
            "names": {"plural": "pods", "singular": "pod", "kind": "PodMetrics"},
            "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    try:
        await host.create(CRDS, crd)
    except AlreadyExists:
        return

    async def is_served() -> bool:
        try:
            await host.raw(Request("GET", ROOT))
        except ApiError:
            return False
        return True

    await eventually(is_served)


async def measure(host: Client, namespace: str, name: str, labels: dict[str, str]) -> None:
    body = {
        "apiVersion": "metrics.k8s.io/v1beta1",
        "kind": "PodMetrics",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "timestamp": "2026-01-01T00:00:10Z",
        "window": "15s",
        "containers": [{"name": "coredns", "usage": {"cpu": "250m", "memory": "64Mi"}}],
    }
    await host.create(PODMETRICS, body)


async def read(inside: Client, path: str) -> Object:
    return dict(json.loads(await inside.raw(Request("GET", path))))


def test_tenants_see_the_figures_of_their_own_pods(tell: Callable[..., None], host_server: Any) -> None:
    async def story(bed: Bed) -> None:
        async with Client(await bed.admin()) as inside, Client(bed.host_server.endpoint) as host:
            await serve_group(host)
            await is_offered(inside)
            pod = (await eventually(lambda: pods_of(host, bed.name)))[0]
            labels = objects.labels(pod)
            await measure(host, bed.name, objects.name(pod), labels)
            # Somebody else's pod in the same namespace, and one that only claims to be ours.
            await measure(host, bed.name, "stranger", {"app": "stranger"})
            await measure(host, bed.name, "forged", labels)

            async def figures() -> Any:
                return (await read(inside, f"{ROOT}/pods"))["items"]

            (item,) = await eventually(figures)
            assert item["metadata"]["namespace"] == "kube-system"
            assert item["containers"] == [{"name": "coredns", "usage": {"cpu": "250m", "memory": "64Mi"}}]
            assert bed.name not in json.dumps(item)
            with pytest.raises(NotFound):
                await inside.raw(Request("GET", f"{ROOT}/nodes"))
            await run_on_the_host(host, pod)
            await the_nodes_summary_has_own_pods_only(inside)
            await an_autoscaler_scales_by_them(inside)
            await it_is_put_back(inside)
            await a_backend_of_the_tenants_own_is_not_reached_by_our_name(bed, inside)

    tell(story)


async def pods_of(client: Client, namespace: str) -> list[Object]:
    return (await client.list(PODS, namespace)).items


async def is_offered(inside: Client) -> None:
    async def available() -> bool:
        found = await inside.find(APISERVICES, "v1beta1.metrics.k8s.io")
        return bool(found) and objects.find_condition(found, "Available").get("status") == "True"

    await eventually(available, 45.0)


async def run_on_the_host(host: Client, pod: Object) -> None:
    """Play the host's scheduler and kubelet."""
    name, namespace = objects.name(pod), objects.namespace(pod)
    target = {"apiVersion": "v1", "kind": "Node", "name": "node-a"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace}}
    await host.create(PODS, binding | {"target": target}, subresource="binding")
    status = {
        "phase": "Running",
        "hostIP": "192.0.2.10",
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }
    await host.patch(PODS, name, {"status": status}, namespace, "strategic", subresource="status")


async def the_nodes_summary_has_own_pods_only(inside: Client) -> None:
    """By way of the API server's proxy, as monitoring asks for it."""

    async def pods() -> Any:
        try:
            return (await read(inside, "/api/v1/nodes/node-a/proxy/stats/summary"))["pods"]
        except ApiError:
            return None

    (stats,) = await eventually(pods)
    assert stats["podRef"]["namespace"] == "kube-system"
    assert stats["cpu"]["usageNanoCores"] == 250_000_000 and stats["memory"]["workingSetBytes"] == 64 * 2**20


async def an_autoscaler_scales_by_them(inside: Client) -> None:
    """The controller-manager of the virtual cluster reads the figures: 250m of the 10m that DNS asks for is much."""
    target = {"type": "Utilization", "averageUtilization": 50}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "dns", "namespace": "kube-system"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "coredns"},
            "minReplicas": 1,
            "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }
    await inside.create(AUTOSCALERS, autoscaler)

    async def is_scaled() -> bool:
        return bool((await inside.get(DEPLOYMENTS, "coredns", "kube-system"))["spec"]["replicas"] == 2)

    await eventually(is_scaled, 60.0)


async def it_is_put_back(inside: Client) -> None:
    await inside.delete(SERVICES, "loft-hypervisor", "kube-system")
    await eventually(lambda: inside.find(SERVICES, "loft-hypervisor", "kube-system"))
    change = {"spec": {"externalName": "elsewhere.example.org"}}
    await inside.patch(SERVICES, "loft-hypervisor", change, "kube-system")

    async def restored() -> bool:
        found = await inside.get(SERVICES, "loft-hypervisor", "kube-system")
        return bool(found["spec"]["externalName"] == "hypervisor.invalid")

    await eventually(restored)


async def a_backend_of_the_tenants_own_is_not_reached_by_our_name(bed: Bed, inside: Client) -> None:
    """An APIService with our name and another port leads nowhere."""
    refused = bed.hypervisor.connections["refused"]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "sly", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "hypervisor.invalid"},
    }
    await inside.create(SERVICES, service)
    group = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.sly.example.org"},
        "spec": {
            "group": "sly.example.org",
            "version": "v1",
            "groupPriorityMinimum": 1,
            "versionPriority": 1,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "sly", "port": 8080},
        },
    }
    await inside.create(APISERVICES, group)

    async def is_refused() -> bool:
        return bed.hypervisor.connections["refused"] > refused

    await eventually(is_refused)
    await inside.delete(APISERVICES, "v1.sly.example.org")
