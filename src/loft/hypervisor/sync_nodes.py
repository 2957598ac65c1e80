"""Virtual Nodes: made before the first Pod is bound to one, removed some time after the last one left.

Where all host nodes are shown they come and go with those.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime

from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.kinds.node import plan_node, virtual_node
from loft.hypervisor.kinds.pod_lifecycle import was_bound
from loft.hypervisor.sync_world import World
from loft.hypervisor.sync_writes import Writer


class Nodes:
    """Reconciles virtual Nodes by name."""

    def __init__(self, world: World, writer: Writer) -> None:
        self._world = world
        self._writer = writer
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._idle_since: dict[str, float] = {}

    async def ensure(self, name: str) -> None:
        """Make sure that a virtual Node exists before a Pod is bound to it. Raises: ApiError."""
        if self._world.nodes.get(name) is not None:
            return
        async with self._locks[name]:
            if self._world.nodes.get(name) is None:
                await self._writer.execute(plan_node(None, self._wanted(name), datetime.now(UTC)))

    async def reconcile(self, name: str) -> float | None:
        """Bring one virtual Node up to date, or remove it when it has been idle; return when to look again."""
        now = asyncio.get_running_loop().time()
        node = self._world.nodes.get(name)
        if self.is_wanted(name):
            self._idle_since.pop(name, None)
            async with self._locks[name]:
                await self._writer.execute(plan_node(node, self._wanted(name), datetime.now(UTC)))
            return None
        if node is None:
            self._idle_since.pop(name, None)
            self._locks.pop(name, None)
            return None
        left_s = self._idle_since.setdefault(name, now) + self._world.settings.node_idle_s - now
        if left_s > 0:
            return left_s
        await self._writer.execute(plan_node(node, None, datetime.now(UTC)))
        return None

    def is_wanted(self, name: str) -> bool:
        """Whether a virtual Node has to be there: it is shown anyway, or a Pod runs on it for its own sake.

        A DaemonSet's Pod is there because the Node is; a Pod that nobody has bound names whatever its tenant likes.
        """
        world = self._world
        if world.settings.all_nodes:
            return world.host_nodes is not None and world.host_nodes.get(name) is not None
        bound = [pod for pod in world.virtual["Pod"].by_index("node", name) if was_bound(pod)]
        return any(not _is_daemon(world, pod) for pod in (*bound, *world.host["Pod"].by_index("node", name)))

    def _wanted(self, name: str) -> Object:
        host_nodes = self._world.host_nodes
        host_node = host_nodes.get(name) if host_nodes else None
        pods = self._world.host["Pod"].by_index("node", name)
        address = max((str(objects.status(pod).get("hostIP") or "") for pod in pods), default="")
        return virtual_node(name, host_node, address, self._world.settings)


def _is_daemon(world: World, pod: Object) -> bool:
    """Whether a Pod, or the virtual Pod of a host Pod, belongs to a DaemonSet."""
    if objects.owner_uid(pod):
        virtual = world.find_virtual("Pod", pod)
        if virtual is None:
            return False
        pod = virtual
    return any(owner.get("kind") == "DaemonSet" for owner in objects.metadata(pod).get("ownerReferences") or ())
