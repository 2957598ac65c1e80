"""A configured kind over two real API servers: its definition is put inside, objects cross, status comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from integration.sync.scene import Scene, eventually, make, running
from loft.core.resource import CRDS, EVENTS, SECRETS, Resource
from loft.hypervisor import sync_gate
from loft.hypervisor.core import objects
from loft.hypervisor.custom import CustomResource, CustomRule

pytestmark = pytest.mark.integration
Tell = Callable[[Any], None]
Object = dict[str, Any]

WIDGETS = Resource("example.com", "v1", "widgets", "Widget")
SHAPES = Resource("example.com", "v1", "shapes", "Shape", namespaced=False)
CUSTOM = (
    CustomResource(
        group="example.com",
        version="v1",
        kind="Widget",
        plural="widgets",
        rules=(
            CustomRule(copy="spec.{size,shape}"),
            CustomRule(ref="spec.passwordSecret", kind="Secret"),
            CustomRule(fixed="spec.owner", value="tenant"),
        ),
        status=(CustomRule(copy="status.ready"), CustomRule(text="status.message")),
    ),
    CustomResource(
        group="example.com",
        version="v1",
        kind="Shape",
        plural="shapes",
        direction="fromHost",
        rules=(CustomRule(copy="spec.corners"),),
        names=("square",),
    ),
)


def definition(resource: Resource) -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"served": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    versions = [version | {"name": "v1", "storage": False}, version | {"name": "v2", "storage": True}]
    scope = "Namespaced" if resource.namespaced else "Cluster"
    names = {"kind": resource.kind, "plural": resource.plural, "categories": ["all"]}
    spec = {"group": resource.group, "scope": scope, "names": names, "versions": versions}
    return {"metadata": {"name": f"{resource.plural}.{resource.group}"}, "spec": spec}


async def tried(scene: Scene, resource: Resource, body: Object, *, inside: bool) -> Any:
    """Make an object as soon as its definition is served."""

    async def made() -> Any:
        try:
            return await make(scene.virtual if inside else scene.host, resource, body)
        except Exception:  # not served yet
            return None

    return await eventually(made, seconds=30)


def test_a_configured_kind_is_synced_like_a_built_in_one(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_gate, "PROBE_S", 0.3)

    async def story(outer: Scene) -> None:
        scene = Scene(outer.host, outer.virtual, f"{outer.name}-c", custom_resources=CUSTOM)
        for resource in (WIDGETS, SHAPES):
            await make(scene.host, CRDS, definition(resource))
        for name in ("square", "secret"):
            shape = {"metadata": {"name": name}, "spec": {"corners": 4, "recipe": "x"}}
            await tried(scene, SHAPES, shape, inside=False)
        async with running(scene):
            ns = await scene.namespace(f"{scene.name}-a")
            secret = {"metadata": {"name": "pw", "namespace": ns}, "stringData": {"k": "v"}}
            await make(scene.virtual, SECRETS, secret)
            spec = {"size": 3, "shape": "square", "passwordSecret": "pw", "owner": "platform"}
            metadata = {"name": "w", "namespace": ns, "finalizers": ["example.com/x"]}
            await tried(scene, WIDGETS, {"metadata": metadata, "spec": spec}, inside=True)
            inside = await scene.virtual.get(CRDS, "widgets.example.com")
            assert [version["name"] for version in inside["spec"]["versions"]] == ["v1"]
            host = await scene.host_object(WIDGETS, f"{ns}/w")
            used = await scene.host_object(SECRETS, f"{ns}/pw")
            wanted = {"size": 3, "shape": "square", "passwordSecret": objects.name(used), "owner": "tenant"}
            assert host["spec"] == wanted and "finalizers" not in host["metadata"]
            status = {"ready": True, "message": f"{objects.name(host)} is ready", "node": "secret"}
            await scene.host.patch(WIDGETS, objects.name(host), {"status": status}, scene.name, subresource="status")

            async def is_ready() -> bool:
                found = await scene.virtual.get(WIDGETS, "w", ns)
                return found.get("status") == {"ready": True, "message": "w is ready"}

            await eventually(is_ready)
            await scene.syncer.settled()
            before = await scene.host.get(WIDGETS, objects.name(host), scene.name)
            scene.syncer.controllers["Widget.example.com"].enqueue(f"{ns}/w")
            await scene.syncer.settled()
            assert await scene.host.get(WIDGETS, objects.name(host), scene.name) == before
            await scene.virtual.patch(WIDGETS, "w", {"spec": {"power": "all"}}, ns)

            async def told() -> Any:
                found = await scene.virtual.list(EVENTS, ns, field_selector="involvedObject.name=w")
                return [item["message"] for item in found.items]

            assert "spec.power: this field is not synced" in (await eventually(told))[0]
            await scene.virtual.patch(WIDGETS, "w", {"metadata": {"finalizers": None}}, ns)
            await scene.virtual.delete(WIDGETS, "w", ns)

            async def is_gone() -> bool:
                return await scene.host_objects(WIDGETS) == [] and await scene.host_objects(SECRETS) == []

            await eventually(is_gone)

            async def is_shown() -> Any:
                return [(objects.name(item), item["spec"]) for item in (await scene.virtual.list(SHAPES)).items]

            assert await eventually(is_shown, seconds=30) == [("square", {"corners": 4})]
        for client in (scene.host, scene.virtual):
            for resource in (WIDGETS, SHAPES):
                await client.delete(CRDS, f"{resource.plural}.{resource.group}")

    tell(story)


def test_settings_can_be_written_as_json() -> None:
    assert msgspec.convert(msgspec.to_builtins(CUSTOM), tuple[CustomResource, ...]) == CUSTOM
