"""NetworkPolicies over two real API servers: namespaces that match are followed, a settled one costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, make, pod
from loft.core.resource import EVENTS, NAMESPACES, NETWORKPOLICIES, PODS
from loft.hypervisor.core import objects

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]


def test_a_policy_follows_the_namespaces_it_selects(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        peer = {"namespaceSelector": {"matchLabels": {scene.name: "yes"}}, "podSelector": {"matchLabels": {"a": "b"}}}
        spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [peer]}]}
        await make(scene.virtual, NETWORKPOLICIES, {"metadata": {"name": "db", "namespace": ns}, "spec": spec})
        host = await scene.host_object(NETWORKPOLICIES, f"{ns}/db")

        async def allowed() -> list[str]:
            found = await scene.host.get(NETWORKPOLICIES, objects.name(host), scene.name)
            expressions = found["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"]
            return [value for item in expressions for value in item["values"]]

        assert await allowed() == ["no_namespace"]
        await scene.virtual.patch(NAMESPACES, ns, {"metadata": {"labels": {scene.name: "yes"}}})

        async def is_listed() -> bool:
            return await allowed() == [ns]

        await eventually(is_listed)
        await scene.virtual.patch(NAMESPACES, ns, {"metadata": {"labels": {scene.name: None}}})

        async def is_empty() -> bool:
            return await allowed() == ["no_namespace"]

        await eventually(is_empty)
        await scene.syncer.settled()
        before = (await scene.host.get(NETWORKPOLICIES, objects.name(host), scene.name))["metadata"]["resourceVersion"]
        await scene.virtual.patch(NAMESPACES, ns, {"metadata": {"labels": {"other": "label"}}})
        await scene.syncer.settled()
        after = (await scene.host.get(NETWORKPOLICIES, objects.name(host), scene.name))["metadata"]["resourceVersion"]
        assert before == after
        await scene.virtual.delete(NETWORKPOLICIES, "db", ns)

        async def is_gone() -> bool:
            return await scene.host.find(NETWORKPOLICIES, objects.name(host), scene.name) is None

        await eventually(is_gone)

    tell(story)


def test_what_opens_the_platforms_boundary_is_told_and_allows_nothing(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        spec = {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]}
        await make(scene.virtual, NETWORKPOLICIES, {"metadata": {"name": "metadata", "namespace": ns}, "spec": spec})

        async def told() -> Any:
            found = await scene.virtual.list(EVENTS, ns, field_selector="involvedObject.name=metadata")
            return [item["message"] for item in found.items]

        assert "spec.egress[0].to[0].ipBlock.cidr" in (await eventually(told))[0]
        [host] = await scene.host_objects(NETWORKPOLICIES)
        [peer] = host["spec"]["egress"][0]["to"]
        assert peer["podSelector"]["matchLabels"][objects.NAMESPACE] == "no_namespace"

    tell(story)


def test_pods_whose_egress_a_tenant_rules_are_marked_as_long_as_it_does(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        for name in ("web", "db"):
            await scene.virtual.create(PODS, pod(ns, name))
            await scene.host_object(PODS, f"{ns}/{name}")

        async def marked() -> set[str]:
            return {objects.virtual_key(item) for item in await scene.host_objects(PODS) if is_marked(item)}

        def is_marked(item: dict[str, Any]) -> bool:
            return objects.EGRESS_RULED in objects.labels(item)

        async def is_db() -> bool:
            return await marked() == {f"{ns}/db"}

        async def is_nobody() -> bool:
            return not await marked()

        spec = {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]}
        await make(scene.virtual, NETWORKPOLICIES, {"metadata": {"name": "quiet", "namespace": ns}, "spec": spec})
        await eventually(is_db)
        await scene.virtual.patch(NETWORKPOLICIES, "quiet", {"spec": {"policyTypes": ["Ingress"]}}, ns)
        await eventually(is_nobody)
        await scene.virtual.patch(NETWORKPOLICIES, "quiet", {"spec": {"policyTypes": ["Egress"]}}, ns)
        await eventually(is_db)
        await scene.virtual.delete(NETWORKPOLICIES, "quiet", ns)
        await eventually(is_nobody)

    tell(story)
