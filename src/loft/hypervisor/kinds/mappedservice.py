"""Services that are found on the other side under a name of the tenant's choice, in both directions.

From the host: host and virtual cluster share one range of ClusterIPs, and kube-proxy of the host routes them. So the
Service inside has the address of the host's, and nothing on the host is made for it; where a packet may go is decided
by the host's network policies as before. From inside: the host gets a second Service, with a plain name, that selects
the same host Pods.
Source: kubernetes.io/docs/concepts/services-networking/service ("Choosing your own IP address").
"""

from __future__ import annotations

from typing import Any

from loft.core.action import Create, Event, Patch
from loft.core.resource import NAMESPACES, SERVICES
from loft.hypervisor.core import objects
from loft.hypervisor.core.baseline import unset
from loft.hypervisor.core.body import back_patch
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import (
    ABSENT,
    At,
    Compute,
    Copy,
    Fixed,
    Guard,
    Ignore,
    Labels,
    Mapping,
    Refusal,
    Scope,
    compile_rules,
)
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step, on_virtual, removal_inside
from loft.hypervisor.core.translate import walk

KEY = "MappedService"
NOT_MAPPED = "NotMapped"
NAME_TAKEN = "MappedNameTaken"

_FROM_HOST = compile_rules(
    (
        Fixed("spec.type", "ClusterIP"),
        Copy("spec.clusterIP"),
        Copy("spec.ports[*].{name,protocol,port,appProtocol}"),
    )
)
_OWNED_INSIDE = tuple(
    ("spec", field)
    for field in ("type", "clusterIP", "ports", "selector", "externalIPs", "externalName", "loadBalancerIP")
)
"""What the host decides of such a Service inside; what of it the host does not say must not be there."""


def unmappable(host: Object) -> str:
    """Return why a Service of the host cannot be shown inside, "" when it can."""
    spec = objects.spec(host)
    if objects.MANAGED_BY in objects.labels(host):
        return "it belongs to a virtual cluster"
    if spec.get("type") == "ExternalName":
        return "it is of type ExternalName: make one inside instead"
    if spec.get("clusterIP") in (None, "", "None"):
        return "it has no ClusterIP"
    return ""


def shown(host: Object, target: str, names: Names, context: Context) -> Object:
    """Return the Service inside for one of the host."""
    namespace, _, name = target.partition("/")
    content: Object = walk(_FROM_HOST, {"spec": objects.spec(host)}, Scope(names, context, host, "", strict=False))
    metadata = {"name": name, "namespace": namespace, "labels": {objects.MAPPED: "true"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata} | content


def plan_from_host(
    target: str, sides: tuple[Object | None, Object | None], namespace: Object | None, names: Names, context: Context
) -> list[Step]:
    """Return the steps still needed for the Service inside that leads to one of the host.

    Args:
        target: `NAMESPACE/NAME` inside.
        sides: the host's Service, None when it is not there or not to be shown any more; and the one inside.
        namespace: that of the target as last seen.
        names, context: as for every plan.
    """
    host, virtual = sides
    if virtual is not None and not objects.is_mapped(virtual):
        text = "a Service of the host is not shown here: this Service has the name; rename or remove one of them"
        is_new = host is not None and text not in context.reported
        return [on_virtual(Event(virtual, NAME_TAKEN, text, "Warning"))] if is_new else []
    if virtual is not None and objects.is_deleting(virtual):
        return []
    if host is None or objects.is_deleting(host) or unmappable(host):
        return removal_inside(SERVICES, virtual)
    wanted = shown(host, target, names, context)
    if virtual is None:
        return _create(wanted, namespace)
    if objects.spec(virtual).get("clusterIP") != objects.spec(host).get("clusterIP"):
        return removal_inside(SERVICES, virtual)
    change = back_patch(wanted, virtual, _OWNED_INSIDE)
    if not change:
        return []
    uid = objects.uid(virtual)
    body = change | {"metadata": {"uid": uid}}
    return [on_virtual(Patch(SERVICES, objects.namespace(virtual), objects.name(virtual), body, uid=uid))]


def _create(wanted: Object, namespace: Object | None) -> list[Step]:
    if namespace is None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": objects.namespace(wanted)}}
        return [on_virtual(Create(NAMESPACES, body)), on_virtual(Create(SERVICES, wanted))]
    return [] if objects.is_deleting(namespace) else [on_virtual(Create(SERVICES, wanted))]


def _headless(value: Any, at: At) -> Any:
    return "None" if value == "None" else ABSENT


def _selects(virtual: Object, context: Context) -> list[Refusal]:
    if objects.spec(virtual).get("selector"):
        return []
    return [Refusal("spec.selector", f"a Service without one cannot be mapped to {context.mapped_to} on the host")]


MAPPED_SERVICE = Mapping(
    name=KEY,
    resource=SERVICES,
    named=lambda _, context: context.mapped_to,
    to_host=(
        Fixed("spec.type", "ClusterIP"),
        Compute("spec.clusterIP", _headless),
        Copy("spec.ports[*].{name,protocol,port,targetPort,appProtocol}"),
        Copy("spec.{sessionAffinity,internalTrafficPolicy,trafficDistribution,publishNotReadyAddresses}"),
        Copy("spec.sessionAffinityConfig.clientIP.timeoutSeconds"),
        Labels("spec.selector"),
        Guard("spec.externalName", unset, "a Service of type ExternalName cannot be mapped to the host"),
        # Of the Service itself, which has a host Service of its own.
        Ignore("spec.ports[*].nodePort"),
        Ignore("spec.{clusterIPs,ipFamilies,ipFamilyPolicy,externalTrafficPolicy,healthCheckNodePort}"),
        Ignore("spec.{allocateLoadBalancerNodePorts,loadBalancerSourceRanges,loadBalancerClass,loadBalancerIP}"),
        Ignore("spec.externalIPs"),
    ),
    checks=_selects,
    # Labels would let host objects that select Services find it; its name is all that it is for.
    labels=lambda _, __: {},
)
"""The second host Service of a virtual one; `Context.mapped_to` is its name."""
