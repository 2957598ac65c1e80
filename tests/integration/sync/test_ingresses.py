"""Ingresses over two real API servers: certificates become used, addresses come back, classes are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, make
from loft.core.resource import EVENTS, INGRESSCLASSES, INGRESSES, PRIORITYCLASSES, SECRETS, SERVICES, STORAGECLASSES
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import MANAGED_BY, RESERVATION

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]


def ingress(namespace: str, host: str = "shop.dev.example", **more: Any) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {"metadata": {"name": "shop", "namespace": namespace}, "spec": {"rules": [rule]} | more}


def test_a_certificate_is_on_the_host_as_long_as_an_ingress_uses_it(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        for name in ("cert", "unused"):
            data = {"tls.crt": "YQ==", "tls.key": "Yg=="}
            body = {"metadata": {"name": name, "namespace": ns}, "data": data, "type": "kubernetes.io/tls"}
            await make(scene.virtual, SECRETS, body)
        tls = [{"hosts": ["shop.dev.example"], "secretName": "cert"}]
        virtual = await make(scene.virtual, INGRESSES, ingress(ns, tls=tls))
        host = await scene.host_object(INGRESSES, f"{ns}/shop")
        secret = await scene.host_object(SECRETS, f"{ns}/cert")
        assert secret["type"] == "kubernetes.io/tls" and secret["data"]["tls.key"] == "Yg=="
        assert host["spec"]["tls"][0]["secretName"] == objects.name(secret)
        backend = host["spec"]["rules"][0]["http"]["paths"][0]["backend"]
        assert backend["service"]["name"] == scene.names.host(ns, "web")
        assert {objects.virtual_key(item) for item in await scene.host_objects(SECRETS)} == {f"{ns}/cert"}
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
        await scene.host.patch(INGRESSES, objects.name(host), status, scene.name, subresource="status")

        async def is_shown() -> bool:
            found = await scene.virtual.get(INGRESSES, "shop", ns)
            return bool(found["status"]["loadBalancer"].get("ingress") == [{"ip": "192.0.2.9"}])

        await eventually(is_shown)
        await scene.syncer.settled()
        before = await scene.host.get(INGRESSES, objects.name(host), scene.name)
        scene.syncer.controllers["Ingress"].enqueue(f"{ns}/shop")
        await scene.syncer.settled()
        assert await scene.host.get(INGRESSES, objects.name(host), scene.name) == before
        await scene.virtual.patch(INGRESSES, objects.name(virtual), {"spec": {"tls": None}}, ns)

        async def is_unused() -> bool:
            return await scene.host_objects(SECRETS) == []

        await eventually(is_unused)
        await scene.virtual.delete(INGRESSES, "shop", ns)

        async def is_gone() -> bool:
            return await scene.host_objects(INGRESSES) == []

        await eventually(is_gone)

    tell(story)


def test_a_backend_has_the_name_that_its_service_really_has(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await make(scene.virtual, INGRESSES, ingress(ns))
        host = await scene.host_object(INGRESSES, f"{ns}/shop")
        marks = {"labels": {MANAGED_BY: scene.name}, "annotations": {RESERVATION: "true"}}
        metadata = {"name": "reserved-9", "namespace": scene.name} | marks
        reserved = await make(scene.host, SERVICES, {"metadata": metadata, "spec": {"ports": [{"port": 80}]}})
        spec = {"ports": [{"port": 80}], "clusterIP": reserved["spec"]["clusterIP"]}
        await make(scene.virtual, SERVICES, {"metadata": {"name": "web", "namespace": ns}, "spec": spec})

        async def is_followed() -> bool:
            found = await scene.host.get(INGRESSES, objects.name(host), scene.name)
            backend = found["spec"]["rules"][0]["http"]["paths"][0]["backend"]
            return bool(backend["service"]["name"] == "reserved-9")

        await eventually(is_followed)

    tell(story)


def test_a_host_of_others_is_refused_by_name(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await make(scene.virtual, INGRESSES, ingress(ns, "platform.example"))

        async def told() -> Any:
            return (await scene.virtual.list(EVENTS, ns, field_selector="involvedObject.name=shop")).items

        message = (await eventually(told))[0]["message"]
        assert "spec.rules[0].host" in message and "platform.example" in message
        assert await scene.host_objects(INGRESSES) == []

    tell(story)


def test_classes_of_the_host_are_shown_as_far_as_they_are_offered(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        shown, hidden = f"{scene.name}-shown", f"{scene.name}-hidden"
        for name in (shown, hidden):
            await make(scene.host, INGRESSCLASSES, {"metadata": {"name": name}, "spec": {"controller": "a.b/c"}})
            await make(scene.host, PRIORITYCLASSES, {"metadata": {"name": name}, "value": 7})
            body = {"metadata": {"name": name}, "provisioner": "a/b", "parameters": {"secret": "s"}}
            await make(scene.host, STORAGECLASSES, body)

        async def is_there(name: str = shown) -> Any:
            found = [await scene.virtual.find(r, name) for r in (INGRESSCLASSES, PRIORITYCLASSES, STORAGECLASSES)]
            return all(found) and found

        classes = await eventually(is_there)
        assert classes[0]["spec"]["controller"] == "a.b/c" and classes[1]["value"] == 7
        assert "parameters" not in classes[2]
        assert await scene.virtual.find(PRIORITYCLASSES, hidden) is None
        await scene.host.delete(PRIORITYCLASSES, shown)
        await make(scene.host, PRIORITYCLASSES, {"metadata": {"name": shown}, "value": 8})
        await scene.virtual.delete(INGRESSCLASSES, shown)
        await scene.virtual.patch(STORAGECLASSES, shown, {"allowVolumeExpansion": True})

        async def is_mended() -> bool:
            found = await is_there()
            return bool(found and found[1]["value"] == 8 and not found[2].get("allowVolumeExpansion"))

        await eventually(is_mended)

    tell(story)
