"""Secrets that a controller of the host issues, over two real API servers; the test plays cert-manager on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, make
from loft.core.resource import EVENTS, INGRESSES, SECRETS
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.kube.errors import NotFound

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]
ISSUER = "cert-manager.io/cluster-issuer"


def annotated(namespace: str) -> Object:
    metadata = {"name": "shop", "namespace": namespace, "annotations": {ISSUER: "house"}}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "shop.dev.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    tls = [{"hosts": ["shop.dev.example"], "secretName": "cert"}]
    return {"metadata": metadata, "spec": {"rules": [rule], "tls": tls}}


def pair(name: str, namespace: str, certificate: str) -> Object:
    data = {"tls.crt": certificate, "tls.key": "Yg=="}
    return {"metadata": {"name": name, "namespace": namespace}, "type": "kubernetes.io/tls", "data": data}


async def inside(scene: Scene, namespace: str) -> str:
    """Return the certificate inside, "" while there is none."""
    found = await scene.virtual.find(SECRETS, "cert", namespace)
    return str(found["data"]["tls.crt"]) if found else ""


def test_what_the_host_issues_is_shown_and_followed_until_nothing_names_it(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await make(scene.virtual, INGRESSES, annotated(ns))
        host = await scene.host_object(INGRESSES, f"{ns}/shop")
        assert objects.annotations(host)[ISSUER] == "house"
        name = host["spec"]["tls"][0]["secretName"]
        made = await make(scene.host, SECRETS, pair(name, scene.name, "YQ=="))
        await make(scene.host, SECRETS, pair("of-others", scene.name, "eA=="))

        async def shows(certificate: str) -> None:
            async def does() -> bool:
                return await inside(scene, ns) == certificate

            await eventually(does)

        await shows("YQ==")
        assert len((await scene.virtual.list(SECRETS, ns)).items) == 1
        await scene.host.patch(SECRETS, name, {"data": {"tls.crt": "Yw=="}}, scene.name)
        await shows("Yw==")
        await scene.virtual.delete(SECRETS, "cert", ns)
        await shows("Yw==")
        await scene.syncer.settled()
        # It is the controller's: nothing of ours is on it.
        found = await scene.host.get(SECRETS, name, scene.name)
        assert objects.uid(found) == objects.uid(made) and not objects.labels(found)
        await scene.virtual.delete(INGRESSES, "shop", ns)
        await shows("")
        assert await scene.host.get(SECRETS, name, scene.name)

    tell(story)


def test_a_certificate_of_the_tenant_is_served_and_nothing_is_issued(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await make(scene.virtual, INGRESSES, annotated(ns))
        host = await scene.host_object(INGRESSES, f"{ns}/shop")
        assert ISSUER in objects.annotations(host)
        # Somebody inside, a cert-manager of the tenant, has the certificate after all.
        await make(scene.virtual, SECRETS, pair("cert", ns, "bWluZQ=="))

        async def is_withdrawn() -> bool:
            found = await scene.host.get(INGRESSES, objects.name(host), scene.name)
            return ISSUER not in objects.annotations(found)

        await eventually(is_withdrawn)
        used = await scene.host_object(SECRETS, f"{ns}/cert")
        assert used["data"]["tls.crt"] == "bWluZQ==" and objects.name(used) == host["spec"]["tls"][0]["secretName"]
        await scene.virtual.delete(SECRETS, "cert", ns)

        async def is_asked_for() -> bool:
            found = await scene.host.get(INGRESSES, objects.name(host), scene.name)
            return ISSUER in objects.annotations(found)

        await eventually(is_asked_for)

    tell(story)


def test_what_is_changed_inside_is_let_go_with_a_word(tell: Tell) -> None:
    async def story(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await make(scene.virtual, INGRESSES, annotated(ns))
        host = await scene.host_object(INGRESSES, f"{ns}/shop")
        name = host["spec"]["tls"][0]["secretName"]
        await make(scene.host, SECRETS, pair(name, scene.name, "YQ=="))

        async def is_there() -> bool:
            return await inside(scene, ns) == "YQ=="

        await eventually(is_there)
        await scene.syncer.settled()
        await scene.virtual.patch(SECRETS, "cert", {"data": {"tls.crt": "bWluZQ=="}}, ns)

        async def told() -> Any:
            found = await scene.virtual.list(EVENTS, ns, field_selector="involvedObject.name=cert,reason=LetGo")
            return found.items

        await eventually(told)
        assert await inside(scene, ns) == "bWluZQ=="
        stays = await scene.host.get(SECRETS, name, scene.name)
        assert stays["data"]["tls.crt"] == "YQ=="
        with pytest.raises(NotFound):
            await scene.virtual.get(SECRETS, name, ns)

    tell(story)
