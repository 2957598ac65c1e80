"""A Pod's course of life on two clusters: gated, created, bound, terminating, gone.

The virtual cluster has no kubelet, so this is what ends its Pods: a virtual Pod is removed once its host Pod is
gone, and a host Pod that goes by itself (eviction, drain, node loss) takes the virtual one with it, so that the
tenant's controllers make a new one.
Source: kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle (termination).
"""

from __future__ import annotations

from loft.core.action import Delete, Patch
from loft.core.resource import PODS
from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import Pair
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step, on_host, on_virtual
from loft.hypervisor.kinds.pod_network import asks_virtual_dns
from loft.hypervisor.kinds.pod_ports import rejection
from loft.hypervisor.kinds.pod_status import back

SOON_S = 0
"""Remove the object now: nothing runs for it any more."""
FORCED_S = 1
"""How long the containers of a host Pod have when the virtual Pod is removed by force (`--grace-period=0 --force`).

The least grace there is frees the name for a successor almost at once; none at all would take the Pod out of the
host's books, quotas among them, while it may still run.
"""


def is_finished(pod: Object) -> bool:
    """Whether all containers have ended for good."""
    return objects.status(pod).get("phase") in ("Succeeded", "Failed")


def was_bound(pod: Object) -> bool:
    """Whether a scheduler bound this Pod; a node name alone could be the tenant's wish."""
    scheduled = objects.find_condition(pod, "PodScheduled").get("status") == "True"
    return bool(objects.spec(pod).get("nodeName")) and scheduled


def was_there(pair: Pair) -> bool:
    """Whether this Pod has been on the host: a Pod never comes back once it was.

    Where a scheduler inside binds Pods, being bound says nothing; a start time comes from the host's kubelet only.
    """
    if pair.context.settings.scheduler:
        return bool(objects.status(pair.virtual).get("startTime"))
    return was_bound(pair.virtual)


def lifecycle(pair: Pair) -> list[Step] | None:
    """Return the steps of a Pod that is beginning or ending, None while it simply runs."""
    virtual, host = pair.virtual, pair.host
    if objects.is_deleting(virtual):
        return _end(virtual) if host is None else _terminate(pair, host)
    if host is None:
        return _begin(pair)
    if objects.is_deleting(host):
        grace_s = objects.metadata(host).get("deletionGracePeriodSeconds")
        return [*(back(pair) or []), on_virtual(_delete(virtual, grace_s))]
    return None


def _begin(pair: Pair) -> list[Step] | None:
    virtual = pair.virtual
    if is_finished(virtual):
        return []
    if was_there(pair):
        return [on_virtual(_delete(virtual, SOON_S))]
    if objects.spec(virtual).get("schedulingGates"):
        return []
    if pair.context.settings.scheduler and not objects.spec(virtual).get("nodeName"):
        return []
    if pair.context.ports_taken:
        return [_reject(pair)]
    if asks_virtual_dns(virtual) and not pair.context.dns_ip:
        return []
    return None


def _terminate(pair: Pair, host: Object) -> list[Step]:
    wanted_s = objects.metadata(pair.virtual).get("deletionGracePeriodSeconds")
    wanted_s = wanted_s if wanted_s is None else max(wanted_s, FORCED_S)
    running_s = objects.metadata(host).get("deletionGracePeriodSeconds")
    steps = back(pair) or []
    if not objects.is_deleting(host) or (wanted_s is not None and running_s is not None and wanted_s < running_s):
        namespace, name, uid = objects.namespace(host), objects.name(host), objects.uid(host)
        steps.append(on_host(Delete(PODS, namespace, name, uid=uid, grace_s=wanted_s)))
    return steps


def _reject(pair: Pair) -> Step:
    name, namespace, uid = objects.name(pair.virtual), objects.namespace(pair.virtual), objects.uid(pair.virtual)
    body = {"metadata": {"uid": uid}, "status": rejection(pair.context.now)}
    return on_virtual(Patch(PODS, namespace, name, body, "strategic", "status", uid))


def _end(virtual: Object) -> list[Step]:
    """Remove the virtual Pod; one that finalizers hold was told so already."""
    if objects.metadata(virtual).get("deletionGracePeriodSeconds") == 0:
        return []
    return [on_virtual(_delete(virtual, SOON_S))]


def _delete(virtual: Object, grace_s: int | None) -> Delete:
    return Delete(PODS, objects.namespace(virtual), objects.name(virtual), uid=objects.uid(virtual), grace_s=grace_s)
