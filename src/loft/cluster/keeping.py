"""Keeps the owner's RoleBinding of every space, also after a crash between two writes or a change of owner."""

from __future__ import annotations

import asyncio

from loft.cluster import owner
from loft.cluster.tenants import Tenants
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.execute import Executor


async def keep_owners(client: Client, tenants: Tenants) -> None:
    """Look at every space whenever it or its RoleBinding changes, for ever; one replica of the agent runs it."""
    executor = Executor(client, component=owner.MANAGER)

    async def reconcile(name: str) -> None:
        binding = tenants.bindings.get(f"{name}/{owner.OWNER_BINDING}")
        await executor.execute(owner.plan(tenants.spaces.get(name), binding))

    controller = Controller("space-owners", reconcile, workers=2)

    def on_binding(key: str, _old: object, _new: object) -> None:
        namespace, name = key.split("/")
        if name == owner.OWNER_BINDING:
            controller.enqueue(namespace)

    await tenants.synced()
    tenants.spaces.subscribe(lambda key, _old, _new: controller.enqueue(key))
    tenants.bindings.subscribe(on_binding)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(controller.run())
