"""The laws of the sync engine over real API servers, with random histories: defaults, conflicts and echoes included."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from integration.sync.scene import Scene, eventually, pod, running
from loft.core.resource import CONFIGMAPS, PODS, SECRETS, SERVICES, Resource
from loft.hypervisor.core import objects
from loft.kube.errors import AlreadyExists, NotFound

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]
Object = dict[str, Any]

SYNCED = (PODS, CONFIGMAPS, SECRETS, SERVICES)
ACTS = 60


def body(random_: random.Random, resource: Resource, namespace: str, name: str) -> Object:
    data = {random_.choice("abc"): random_.choice("xyz") for _ in range(random_.randint(0, 3))}
    metadata = {"name": name, "namespace": namespace, "labels": dict(data)}
    match resource.kind:
        case "Pod":
            sources = [{"configMapRef": {"name": "one", "optional": True}}, {"secretRef": {"name": "two"}}]
            container = {"name": "main", "image": "demo", "envFrom": sources}
            return pod(namespace, name, containers=[container]) | {"metadata": metadata}
        case "Service":
            ports = [{"port": number, "name": f"p{number}"} for number in range(1, random_.randint(2, 4))]
            return {
                "metadata": metadata,
                "spec": {"clusterIP": "None", "selector": data | {"app": name}, "ports": ports},
            }
        case "Secret":
            return {"metadata": metadata, "stringData": data}
        case _:
            return {"metadata": metadata, "data": data}


async def act(scene: Scene, random_: random.Random, namespace: str) -> None:
    """Do one random thing that a tenant or the host could do."""
    resource, name = random_.choice(SYNCED), random_.choice(["one", "two", "a-x-b"])
    wanted = body(random_, resource, namespace, name)
    what = random_.choice(["put", "put", "put", "delete", "recreate", "lose"])
    try:
        if what in ("delete", "recreate"):
            await scene.virtual.delete(resource, name, namespace)
        if what in ("put", "recreate"):
            await scene.virtual.create(resource, wanted)
        if what == "lose":
            host = scene.names.host(namespace, name)
            await scene.host.delete(resource, host, scene.name, grace_s=0 if resource is PODS else None)
    except AlreadyExists:
        change = wanted if resource is not PODS else {"metadata": {"labels": wanted["metadata"]["labels"]}}
        await scene.virtual.patch(resource, name, change, namespace)
    except NotFound:
        pass


async def pairs(scene: Scene, namespace: str) -> list[str]:
    """Return what differs between both sides; empty when the laws hold."""
    wrong = []
    for resource in SYNCED:
        inside = {objects.key(item): item for item in (await scene.virtual.list(resource, namespace)).items}
        outside = [item for item in await scene.host_objects(resource) if marked(item, resource.kind)]
        for host in outside:
            virtual = inside.get(objects.virtual_key(host))
            if virtual is None or objects.uid(virtual) != objects.owner_uid(host):
                wrong.append(f"{resource.kind} {objects.name(host)} has no living owner")
            elif resource in (CONFIGMAPS, SECRETS) and (virtual.get("data") or {}) != (host.get("data") or {}):
                wrong.append(f"{resource.kind} {objects.name(host)} has other data")
        synced = {objects.virtual_key(host) for host in outside}
        if resource in (PODS, SERVICES):
            wrong += [f"{resource.kind} {key} is missing" for key in inside if key not in synced]
    return wrong


def marked(host: Object, kind: str) -> bool:
    return objects.annotations(host).get(objects.OBJECT_KIND) == kind


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_history_ends_with_both_sides_equal_and_no_more_writes(tell: Tell, seed: int) -> None:
    async def story(scene: Scene) -> None:
        random_ = random.Random(seed)
        namespace = await scene.namespace(f"{scene.name}-a")
        for _ in range(ACTS):
            await act(scene, random_, namespace)
            if random_.random() < 0.2:
                await scene.syncer.settled()

        async def are_equal() -> bool:
            await scene.syncer.settled()
            return not await pairs(scene, namespace)

        try:
            await eventually(are_equal, seconds=15)
        except AssertionError:
            raise AssertionError(await pairs(scene, namespace)) from None
        before = await versions(scene, namespace)
        for controller in scene.syncer.controllers.values():
            for informer in scene.syncer.world.virtual.values():
                if controller is scene.syncer.controllers.get(informer.resource.kind):
                    for item in informer.list():
                        controller.enqueue(objects.key(item))
        await scene.syncer.settled()
        assert await versions(scene, namespace) == before

    tell(story)


async def versions(scene: Scene, namespace: str) -> set[tuple[str, str]]:
    found = set()
    for resource in SYNCED:
        items = [*(await scene.virtual.list(resource, namespace)).items, *await scene.host_objects(resource)]
        found |= {(objects.uid(item), item["metadata"]["resourceVersion"]) for item in items}
    return found


def test_two_processes_at_once_do_no_harm(tell: Tell) -> None:
    """A paused leader that comes back writes the same, or is refused by a precondition."""

    async def story(scene: Scene) -> None:
        namespace = await scene.namespace(f"{scene.name}-a")
        other = Scene(scene.host, scene.virtual, scene.name)
        random_ = random.Random(9)
        async with running(other):
            for _ in range(ACTS // 2):
                await act(scene, random_, namespace)

            async def are_equal() -> bool:
                return not await pairs(scene, namespace)

            await eventually(are_equal, seconds=20)

    tell(story)
