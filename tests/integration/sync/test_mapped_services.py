"""Mapped Services over two real API servers: they lead to the other side, follow it, and take nobody's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, make, running
from loft.core.resource import EVENTS, NAMESPACES, SERVICES
from loft.hypervisor.core import objects
from loft.hypervisor.mapped import MappedService
from loft.kube.client import Client

pytestmark = pytest.mark.integration

Object = dict[str, Any]
Pairs = list[tuple[str, str]]


def service(namespace: str, name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"ports": [{"port": 80}]} | spec}


@pytest.fixture
def story(start_api_server: Callable[..., Any], request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a story with mappings of its own; `{vc}` in them is the virtual cluster's name."""
    host, virtual = start_api_server("sync-host"), start_api_server("sync-virtual")
    name = f"map{abs(hash(request.node.name)) % 10**8}"

    def run(tell: Callable[[Scene], Any], from_host: Pairs, from_virtual: Pairs) -> None:
        def read(given: Pairs) -> tuple[MappedService, ...]:
            return tuple(
                MappedService(source=key.format(vc=name), target=value.format(vc=name)) for key, value in given
            )

        async def go() -> None:
            async with Client(host.endpoint) as outside, Client(virtual.endpoint) as inside:
                scene = Scene(outside, inside, name, from_host=read(from_host), from_virtual=read(from_virtual))
                async with running(scene):
                    await tell(scene)

        asyncio.run(go())

    return run


def test_a_service_of_the_host_is_shown_follows_it_and_goes_with_it(story: Callable[..., None]) -> None:
    async def tell(scene: Scene) -> None:
        apps = f"{scene.name}-apps"
        await make(scene.host, NAMESPACES, {"metadata": {"name": f"{scene.name}-data"}})
        there = await scene.host.create(SERVICES, service(f"{scene.name}-data", "db", selector={"a": "b"}))
        inside = await eventually(lambda: scene.virtual.find(SERVICES, "base", apps))
        assert inside["spec"]["clusterIP"] == there["spec"]["clusterIP"]
        assert not inside["spec"].get("selector")
        await scene.host.patch(SERVICES, "db", {"spec": {"ports": [{"port": 81}]}}, f"{scene.name}-data")

        async def ports() -> list[int]:
            return [port["port"] for port in (await scene.virtual.get(SERVICES, "base", apps))["spec"]["ports"]]

        await eventually(lambda: _is(ports(), [81]))
        # What the tenant does to it is undone; nothing of it is made on the host.
        await scene.virtual.patch(SERVICES, "base", {"spec": {"selector": {"app": "mine"}}}, apps)

        async def selector() -> Any:
            return (await scene.virtual.get(SERVICES, "base", apps))["spec"].get("selector")

        await eventually(lambda: _is(selector(), None))
        await scene.virtual.delete(SERVICES, "base", apps)
        again = await eventually(lambda: scene.virtual.find(SERVICES, "base", apps))
        assert not await scene.host_objects(SERVICES)
        # Another Service of that name on the host has another address.
        await scene.host.delete(SERVICES, "db", f"{scene.name}-data")
        await eventually(lambda: _is(scene.virtual.find(SERVICES, "base", apps), None))
        held = await scene.host.create(SERVICES, service(f"{scene.name}-data", "holder"))
        new = await scene.host.create(SERVICES, service(f"{scene.name}-data", "db"))
        other = await eventually(lambda: scene.virtual.find(SERVICES, "base", apps))
        assert other["spec"]["clusterIP"] == new["spec"]["clusterIP"] != held["spec"]["clusterIP"]
        assert objects.uid(other) != objects.uid(again)

    story(tell, [("{vc}-data/db", "{vc}-apps/base")], [])


def test_a_name_that_a_tenant_has_stays_the_tenants(story: Callable[..., None]) -> None:
    async def tell(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        mine = await scene.virtual.create(SERVICES, service(ns, "base", clusterIP="None"))
        await scene.host.create(SERVICES, service(scene.name, "db"))

        async def told() -> bool:
            events = (await scene.virtual.list(EVENTS, ns)).items
            return any(event["reason"] == "MappedNameTaken" for event in events)

        await eventually(told)
        assert objects.uid(await scene.virtual.get(SERVICES, "base", ns)) == objects.uid(mine)
        await scene.virtual.delete(SERVICES, "base", ns)

        async def is_shown() -> bool:
            found = await scene.virtual.find(SERVICES, "base", ns)
            return found is not None and found["spec"]["clusterIP"] != "None"

        await eventually(is_shown)
        await scene.host.delete(SERVICES, "db", scene.name)
        await eventually(lambda: _is(scene.virtual.find(SERVICES, "base", ns), None))

    story(tell, [("{vc}/db", "{vc}-a/base")], [])


def test_what_cannot_be_shown_is_told_on_the_namespace(story: Callable[..., None]) -> None:
    async def tell(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        await scene.host.create(SERVICES, service(scene.name, "peers", clusterIP="None"))

        async def told() -> list[str]:
            events = (await scene.virtual.list(EVENTS, "default", field_selector=f"involvedObject.name={ns}")).items
            return [
                event["message"]
                for event in events
                if event["reason"] == "NotMapped" and "ClusterIP" in event["message"]
            ]

        (text,) = await eventually(told)
        assert text == f"Service {scene.name}/peers of the host is not shown as {ns}/peers: it has no ClusterIP"

    story(tell, [("{vc}/peers", "{vc}-a/peers")], [])


def test_a_service_inside_is_found_on_the_host_by_a_plain_name(story: Callable[..., None]) -> None:
    async def tell(scene: Scene) -> None:
        ns = await scene.namespace(f"{scene.name}-a")
        stranger = await scene.host.create(SERVICES, service(scene.name, "taken"))
        await scene.virtual.create(SERVICES, service(ns, "web", selector={"app": "web"}, clusterIP="None"))
        outside = await eventually(lambda: scene.host.find(SERVICES, "web", scene.name))
        usual = await scene.host_object(SERVICES, f"{ns}/web")
        assert outside["spec"]["selector"] == usual["spec"]["selector"]
        await scene.virtual.patch(SERVICES, "web", {"spec": {"ports": [{"port": 81}]}}, ns)

        async def ports() -> list[int]:
            return [port["port"] for port in (await scene.host.get(SERVICES, "web", scene.name))["spec"]["ports"]]

        await eventually(lambda: _is(ports(), [81]))

        async def told() -> bool:
            events = (await scene.virtual.list(EVENTS, ns)).items
            return any(event["reason"] == "HostNameTaken" and "taken" in event["message"] for event in events)

        await eventually(told)
        assert await scene.host.get(SERVICES, "taken", scene.name) == stranger
        # Somebody who deletes it gets it back; with the Service inside both go, and nothing else.
        await scene.host.delete(SERVICES, "web", scene.name)
        await eventually(lambda: scene.host.find(SERVICES, "web", scene.name))
        await scene.virtual.delete(SERVICES, "web", ns)

        async def left() -> list[str]:
            return [objects.name(item) for item in (await scene.host.list(SERVICES, scene.name)).items]

        await eventually(lambda: _is(left(), ["taken"]))

    story(tell, [], [("{vc}-a/web", "web"), ("{vc}-a/web", "taken")])


async def _is(answer: Any, wanted: Any) -> bool:
    return bool(await answer == wanted)
