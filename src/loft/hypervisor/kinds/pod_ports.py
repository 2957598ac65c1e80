"""Host ports of a Pod that went to a node past every scheduler (`spec.nodeName`): it is rejected as by a kubelet.

A controller makes a new Pod then; one that stayed Pending would hold it up until somebody looked.
Source: a kubelet's own check before it admits a Pod, by the scheduler's rule NodePorts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object

REASON = "NodePorts"
MESSAGE = "Pod was rejected: another Pod of this cluster has its host ports on this node"
_ANY = "0.0.0.0"
Port = tuple[str, int, str]
"""(protocol, number, address)"""


def host_ports(pod: Object) -> set[Port]:
    """Return the host ports of a Pod's containers, sidecars among them."""
    spec = objects.spec(pod)
    sidecars = [item for item in spec.get("initContainers") or () if item.get("restartPolicy") == "Always"]
    return {
        (port.get("protocol") or "TCP", port["hostPort"], port.get("hostIP") or _ANY)
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def has_taken_ports(pod: Object, others: Iterable[Object]) -> bool:
    """Whether a Pod that has not begun yet wants a host port which another one on its node has.

    Args:
        pod: as last seen inside.
        others: the Pods of its node, itself among them or not.
    """
    wanted = host_ports(pod)
    if not wanted or objects.status(pod).get("startTime"):
        return False
    return any(
        _clash(one, other)
        for holder in others
        if objects.uid(holder) != objects.uid(pod) and _holds(holder)
        for one in wanted
        for other in host_ports(holder)
    )


def rejection(now: datetime) -> Object:
    """Return the status of a rejected Pod."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"phase": "Failed", "reason": REASON, "message": MESSAGE, "startTime": stamp}


def _holds(pod: Object) -> bool:
    status = objects.status(pod)
    return bool(status.get("startTime")) and status.get("phase") not in ("Succeeded", "Failed")


def _clash(one: Port, other: Port) -> bool:
    return one[:2] == other[:2] and (one[2] == other[2] or _ANY in (one[2], other[2]))
