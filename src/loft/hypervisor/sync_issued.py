"""Shows inside the Secrets that controllers of the host make for tenants' objects: certificates above all.

One queue, by the key that the Secret has inside. Contents are in no cache: both sides are read when one is looked at.
"""

from __future__ import annotations

from loft.core.resource import SECRETS
from loft.hypervisor.core import objects
from loft.hypervisor.core.issued import plan_issued
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.reflection import is_reflected
from loft.hypervisor.kinds import issued
from loft.hypervisor.sync_world import World, without_content
from loft.hypervisor.sync_writes import Writer
from loft.kube.client import Client
from loft.kube.controller import Controller
from loft.kube.errors import AlreadyExists
from loft.kube.informer import Informer

LOOK_AGAIN_S = 1.0
NEVER_ISSUED = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
"""Large or powerful ones that are not even asked for; what is shown of the others is up to the plan."""


class Issued:
    """Shows the Secrets that are issued on the host."""

    def __init__(self, clients: tuple[Client, Client], world: World, writer: Writer) -> None:
        self._clients = clients
        self._world = world
        self._writer = writer
        host, _ = clients
        # Those without our mark: nobody but controllers and owners of the host makes them.
        strangers = f"!{objects.MANAGED_BY}"
        namespace = world.names.host_namespace
        self.informer = Informer(
            host, SECRETS, namespace, label_selector=strangers, field_selector=NEVER_ISSUED, transform=without_content
        )
        self.controller = Controller("secrets issued on the host", self._reconcile)

    def subscribe(self) -> None:
        """Follow the host's Secrets."""
        self.informer.subscribe(self._host_secret_changed)

    def _host_secret_changed(self, key: str, old: Object | None, new: Object | None) -> None:
        for user in self._world.issuing(f"host/{objects.name(new or old or {})}"):
            self.object_changed(user)

    def object_changed(self, virtual: tuple[str, Object] | None) -> None:
        """Look at the Secrets that are issued for an object (kind, object), as it is or was."""
        if virtual is not None:
            kind, obj = virtual
            for name in issued(self._world.mappings[kind], obj):
                self.controller.enqueue(f"{objects.namespace(obj)}/{name}")

    def secret_changed(self, key: str) -> list[tuple[str, str]]:
        """Look at a Secret inside; return (kind, key) of the objects for which one of its name is issued."""
        users = self._world.issuing(key)
        if users:
            self.controller.enqueue(key)
        return [(kind, objects.key(obj)) for kind, obj in users]

    async def _reconcile(self, key: str) -> float | None:
        inside = self._world.virtual["Secret"].get(key)
        if inside is not None and not is_reflected(inside):
            return None
        host_client, client = self._clients
        namespace, _, name = key.partition("/")
        names = self._world.names
        is_named = any(self._is_on_host(kind, obj) for kind, obj in self._world.issuing(key))
        host = None
        if is_named and self.informer.get(f"{names.host_namespace}/{names.host(namespace, name)}"):
            host = await host_client.find(SECRETS, names.host(namespace, name), names.host_namespace)
        virtual = await client.find(SECRETS, name, namespace)
        try:
            await self._writer.execute(plan_issued((namespace, name), host, virtual, named=is_named))
        except AlreadyExists:
            return LOOK_AGAIN_S
        return None

    def _is_on_host(self, kind: str, virtual: Object) -> bool:
        paired = self._world.pair(kind, objects.key(virtual))
        return paired.host is not None and objects.owner_uid(paired.host) == objects.uid(virtual)
