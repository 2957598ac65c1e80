"""What the sync engine's caches know about an address or a pod: read side for the egress proxy and the kubelet API.

Host objects are believed only with this virtual cluster's label (the caches hold no others), and a pod's translation
only if its host pod was made for the virtual pod that exists now.
"""

from __future__ import annotations

from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.egress_rules import Known
from loft.hypervisor.kinds.node import is_ours
from loft.hypervisor.sync_world import World


class Neighbours:
    """Answers about one virtual cluster's nodes, pods and services."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.names = world.names

    def known(self, address: str) -> Known:
        """Return what is known about an IP address."""
        return Known(
            is_node=self._is_node(address),
            is_pod=any(self._has_pod_address(pod, address) for pod in self._host("Pod")),
            is_service=any(address in _service_addresses(service) for service in self._host("Service")),
        )

    def host_pod(self, namespace: str, name: str, uid: str = "") -> tuple[Object, Object] | None:
        """Return (virtual pod, host pod) for a virtual pod, None when it does not exist or is not on the host."""
        world = self._world
        if "Pod" not in world.virtual:
            return None
        virtual = world.virtual["Pod"].get(f"{namespace}/{name}")
        if virtual is None or (uid and uid != objects.uid(virtual)):
            return None
        for host in world.host["Pod"].by_index("key", f"Pod:{namespace}/{name}"):
            if objects.owner_uid(host) == objects.uid(virtual):
                return virtual, host
        return None

    def pods_on(self, address: str) -> list[Object]:
        """Return the virtual pods on the virtual node that has this address."""
        names = {objects.name(node) for node in self._world.nodes.list() if address in _node_addresses(node)}
        if "Pod" not in self._world.virtual:
            return []
        return [pod for name in sorted(names) for pod in self._world.virtual["Pod"].by_index("node", name)]

    def node_at(self, address: str) -> str:
        """Return the name of the virtual node that has this address, "" when there is none."""
        found = [node for node in self._world.nodes.list() if is_ours(node) and address in _node_addresses(node)]
        return objects.name(found[0]) if found else ""

    def _host(self, kind: str) -> list[Object]:
        return self._world.host[kind].list() if kind in self._world.host else []

    def _is_node(self, address: str) -> bool:
        if any(is_ours(node) and address in _node_addresses(node) for node in self._world.nodes.list()):
            return True
        # The Node appears a moment after its first pod; a pod's host address is a node's in any case.
        return any(address == objects.status(pod).get("hostIP") for pod in self._host("Pod"))

    @staticmethod
    def _has_pod_address(pod: Object, address: str) -> bool:
        status = objects.status(pod)
        if objects.spec(pod).get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
            return False
        return address in {status.get("podIP"), *(item.get("ip") for item in status.get("podIPs") or ())}


def _node_addresses(node: Object) -> set[str]:
    items = objects.status(node).get("addresses") or ()
    return {str(item.get("address")) for item in items if item.get("type") == "InternalIP"}


def _service_addresses(service: Object) -> set[str]:
    spec = objects.spec(service)
    return {str(ip) for ip in [spec.get("clusterIP"), *(spec.get("clusterIPs") or ())] if ip and ip != "None"}
