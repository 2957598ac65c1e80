"""The agent's controller against a real API server, with exactly the rights that its chart gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from integration.api_server import ApiServer
from loft.core.resource import (
    CLUSTERROLEBINDINGS,
    NAMESPACES,
    ROLES,
    SECRETS,
    SERVICEACCOUNTS,
    STATEFULSETS,
    VIRTUALCLUSTERS,
)
from loft.helm.binary import Helm
from loft.helm.charts import chart_path, read_chart
from loft.kube.client import Client
from loft.kube.config import Endpoint
from loft.tenancy.virtualcluster.deployer import ACCOUNT, Deployer
from loft.tenancy.virtualcluster.values import Facts
from loft.tenancy.virtualcluster.watch import VirtualClusters, caches

pytestmark = pytest.mark.integration


async def eventually(look: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    async with asyncio.timeout(timeout_s):
        while not (found := await look()):
            await asyncio.sleep(0.05)
    return found


async def agent_endpoint(admin: Client, server: ApiServer) -> Endpoint:
    """Return the endpoint of the agent's ServiceAccount."""
    wish = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"name": "loft-agent", "namespace": "loft"},
        "spec": {"expirationSeconds": 3600},
    }
    token = (await admin.create(SERVICEACCOUNTS, wish, subresource="token"))["status"]["token"]
    return Endpoint(server=server.url, ca_data=server.authority.cert, token=token)


def virtual_cluster(name: str, values: str = "") -> dict[str, Any]:
    return {
        "apiVersion": "storage.loft.sh/v1",
        "kind": "VirtualCluster",
        "metadata": {"name": name, "namespace": "space"},
        "spec": {"helmRelease": {"values": values}} if values else {},
    }


async def walk(server: ApiServer) -> None:
    async with Client(server.endpoint) as admin:
        await Helm(server.endpoint).install(
            "loft-agent", "loft", chart_path("loft-agent"), {"apiService": {"enabled": False}}, create_namespace=True
        )
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "space"}}
        await admin.create(NAMESPACES, space)
        facts = Facts(
            service_cidr="10.96.0.0/16",
            agent_namespace="loft",
            agent_service_account="loft-agent",
            chart_version=read_chart(chart_path("virtualcluster")).version,
            chart_digest="1",
        )
        async with Client(await agent_endpoint(admin, server)) as client:
            informers = caches(client)
            controller = VirtualClusters(client, informers, Deployer(client), facts)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job) for job in (informers[0].run(), informers[1].run(), controller.run())]
                await deploys(admin)
                await refuses(admin)
                await removes(admin)
                for task in tasks:
                    task.cancel()


async def deploys(admin: Client) -> None:
    await admin.create(VIRTUALCLUSTERS, virtual_cluster("vc"))
    await eventually(lambda: admin.find(STATEFULSETS, "vc", "space"))

    async def deployed() -> Any:
        found = await admin.get(VIRTUALCLUSTERS, "vc", "space")
        return found if (found.get("status") or {}).get("phase") == "Deployed" else None

    namespace = await admin.get(NAMESPACES, "space")
    classes = await admin.get(CLUSTERROLEBINDINGS, "loft-vc-classes:space")
    assert classes["subjects"][0]["name"] == "system:serviceaccounts:space"
    assert classes["metadata"]["ownerReferences"][0]["uid"] == namespace["metadata"]["uid"]
    status = (await eventually(deployed))["status"]
    conditions = {entry["type"]: entry["status"] for entry in status["conditions"]}
    assert conditions["HelmChartDeployed"] == "True"
    assert conditions["Ready"] == "False"  # there is no kubelet
    assert status["observedGeneration"] == 1
    role = await admin.get(ROLES, "vc-vc-agent", "space")
    assert role["rules"][0]["resourceNames"] == ["vc-vc", "vc-vc-gateway"]


async def refuses(admin: Client) -> None:
    await admin.create(VIRTUALCLUSTERS, virtual_cluster("bad", "image: evil"))

    async def failed() -> Any:
        status = (await admin.get(VIRTUALCLUSTERS, "bad", "space")).get("status") or {}
        return status if status.get("phase") == "Failed" else None

    status = await eventually(failed)
    assert status["reason"] == "ValueNotAllowed" and "image cannot be set" in status["message"]
    assert await admin.find(STATEFULSETS, "bad", "space") is None
    await admin.delete(VIRTUALCLUSTERS, "bad", "space")


async def removes(admin: Client) -> None:
    left = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "left", "namespace": "space", "labels": {"vcluster.loft.sh/managed-by": "vc"}},
    }
    await admin.create(SECRETS, left)
    await admin.delete(VIRTUALCLUSTERS, "vc", "space")

    async def gone() -> bool:
        return await admin.find(VIRTUALCLUSTERS, "vc", "space") is None

    await eventually(gone)
    assert await admin.find(STATEFULSETS, "vc", "space") is None
    assert (await admin.list(SECRETS, "space")).items == []
    assert await admin.find(SERVICEACCOUNTS, ACCOUNT, "space") is None
    assert await admin.find(CLUSTERROLEBINDINGS, "loft-vc-classes:space") is None


def test_a_virtual_cluster_comes_and_goes(start_api_server: Callable[..., ApiServer]) -> None:
    asyncio.run(walk(start_api_server("tenancy", controller_manager=True)))
