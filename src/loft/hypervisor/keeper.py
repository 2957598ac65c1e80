"""Keeps a few objects inside the virtual cluster as they must be, whatever the tenant does to them.

The tenant is cluster-admin inside and may break anything of its own; the webhook, the access rules and the API
server's own Service are what the platform needs to stay in control of names and addresses. They carry a label, are
watched by it, and are put back when changed or deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from loft.core.action import Action, Create, Delete, Update
from loft.core.diff import covers
from loft.core.resource import Resource
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists, Invalid
from loft.kube.execute import Executor
from loft.kube.informer import Informer
from loft.kube.keep import lasting

LABEL = "loft.sh/kept"
MANAGER = "loft-hypervisor"


class Keeper:
    """Keeps objects of some resources. Objects of one part replace those wanted for that part before."""

    def __init__(self, client: Client, resources: Sequence[Resource]) -> None:
        self._client = client
        self._executor = Executor(client, component=MANAGER)
        self._resources = {(resource.api_version, resource.kind): resource for resource in resources}
        self._informers = {
            resource.plural: Informer(client, resource, label_selector=f"{LABEL}=true") for resource in resources
        }
        self._by_plural = {resource.plural: resource for resource in resources}
        self._wanted: dict[str, dict[str, Object]] = {}
        self._controller = Controller("keeper", self._reconcile)

    def want(self, part: str, wanted: Sequence[Object]) -> None:
        """Say which objects a part (`access`, `webhook`, …) consists of from now on."""
        before = self._wanted.get(part, {})
        self._wanted[part] = {self._key(obj): _labelled(obj) for obj in wanted}
        for key in {*before, *self._wanted[part]}:
            self._controller.enqueue(key)

    async def run(self) -> None:
        """Keep until cancelled. Everything wanted by then is in place when `settled` returns."""
        async with asyncio.TaskGroup() as group:
            for plural, informer in self._informers.items():
                group.create_task(lasting(f"cache of {plural}", informer.run))
            for plural, informer in self._informers.items():
                await informer.synced()
                informer.subscribe(self._changed(plural))
            group.create_task(lasting("keeper", self._controller.run))

    async def settled(self) -> None:
        """Wait until nothing is left to do that is known now."""
        for informer in self._informers.values():
            await informer.synced()
        await self._controller.idle()

    def _changed(self, plural: str) -> Any:
        def changed(key: str, old: Object | None, new: Object | None) -> None:
            self._controller.enqueue(f"{plural}:{key}")

        return changed

    def _key(self, obj: Object) -> str:
        return f"{self._resources[obj['apiVersion'], obj['kind']].plural}:{objects.key(obj)}"

    def _find_wanted(self, key: str) -> Object | None:
        return next((part[key] for part in self._wanted.values() if key in part), None)

    async def _reconcile(self, key: str) -> None:
        plural, _, name = key.partition(":")
        resource, observed = self._by_plural[plural], self._informers[plural].get(name)
        try:
            await self._executor.execute(plan(resource, observed, self._find_wanted(key)))
        except AlreadyExists:
            # Without our label the cache does not show it: the tenant took that away, or made the object before us.
            found = await self._client.get(resource, name.rpartition("/")[2], name.rpartition("/")[0])
            await self._executor.execute(plan(resource, found, self._find_wanted(key)))
        except Invalid:
            if observed is None:
                raise
            # A field that cannot be changed (roleRef, provisioner): the object has to be another one.
            await self._executor.execute(plan(resource, observed, None))
            await self._executor.execute(plan(resource, None, self._find_wanted(key)))


def plan(resource: Resource, observed: Object | None, wanted: Object | None) -> list[Action]:
    """Return what is to be done for one object; pure."""
    if wanted is None:
        if observed is None or objects.is_deleting(observed):
            return []
        return [Delete(resource, objects.namespace(observed), objects.name(observed), uid=objects.uid(observed))]
    if observed is None:
        return [Create(resource, wanted)]
    if covers(observed, wanted) and not _is_narrowed(observed):
        return []
    # A whole replacement, not an apply: what somebody added has to go as well.
    version = {"resourceVersion": objects.metadata(observed)["resourceVersion"]}
    return [Update(resource, wanted | {"metadata": wanted["metadata"] | version})]


def _is_narrowed(observed: Object) -> bool:
    """Whether a webhook is kept from seeing some objects; ours must see them all."""
    return any(
        webhook.get(selector)
        for webhook in observed.get("webhooks") or ()
        for selector in ("namespaceSelector", "objectSelector")
    )


def _labelled(obj: Object) -> Object:
    metadata = obj["metadata"]
    return obj | {"metadata": metadata | {"labels": (metadata.get("labels") or {}) | {LABEL: "true"}}}
