"""A virtual control plane comes up with the chart's flags and the chart's Role, and is what the design says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integration.virtualcluster.bed import Bed
from loft.core.resource import NAMESPACES, SERVICES
from loft.kube.client import Client

pytestmark = pytest.mark.integration


def test_the_published_kubeconfig_is_cluster_admin_inside(tell: Callable[..., None]) -> None:
    async def story(bed: Bed) -> None:
        async with Client(await bed.admin()) as inside:
            names = {item["metadata"]["name"] for item in (await inside.list(NAMESPACES)).items}
            assert {"default", "kube-system", "kube-public"} <= names
            service = await inside.get(SERVICES, "kubernetes", "default")
        async with Client(bed.host_server.endpoint) as host:
            assert service["spec"]["clusterIP"] == (await host.get(SERVICES, bed.name, bed.name))["spec"]["clusterIP"]

    tell(story)
