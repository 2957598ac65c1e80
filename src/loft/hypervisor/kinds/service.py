"""Service: ports and selector go to the host, load balancer addresses come back.

Only the host's kube-proxy routes ClusterIPs, so the host Service exists before the virtual one: admission makes it
as a reservation whose ClusterIP the virtual Service gets, and it is adopted here by that address. A reservation that
says already all that is wanted stays as it is: an address has one Service on either side, so it identifies both, and a
write only to note the uid is saved. Where there is no reservation (headless, ExternalName, or the host object was lost)
the host Service is created with the virtual object's addresses.
Source: kubernetes.io/docs/concepts/services-networking/service.
"""

from __future__ import annotations

from loft.core.resource import SERVICES
from loft.hypervisor.core import objects
from loft.hypervisor.core.baseline import unset
from loft.hypervisor.core.body import host_patch
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Copy, Guard, HostPatch, Labels, Mapping
from loft.hypervisor.core.objects import Object

API_SERVER = "default/kubernetes"
METRICS = "kube-system/loft-hypervisor"

_BORROWED = "tenants may not claim addresses of the host network (CVE-2020-8554)"
_CLASS = "load balancer classes belong to the host cluster"
_ASSIGNED = frozenset({"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"})
_OWNERSHIP = frozenset({objects.OBJECT_UID, objects.RESERVATION})


def is_of_the_tenant(virtual: Object, context: Context) -> bool:
    """Sync all but the Services that lead to ourselves, and those that show one of the host, which is there already."""
    return objects.key(virtual) not in (API_SERVER, METRICS) and not objects.is_mapped(virtual)


def is_reservation_of(virtual: Object, host: Object) -> bool:
    """Whether a host Service without an owner was reserved for this one: it has its ClusterIP.

    One that became an alias has no address any more; what was reserved under its own name is its own then.
    """
    marks = objects.annotations(host)
    address = objects.spec(virtual).get("clusterIP")
    if objects.RESERVATION not in marks or objects.is_deleting(host) or address == "None":
        return False
    if marks.get(objects.OBJECT_NAMESPACE, objects.namespace(virtual)) != objects.namespace(virtual):
        return False
    if marks.get(objects.OBJECT_NAME, objects.name(virtual)) != objects.name(virtual):
        return False
    return objects.spec(host).get("clusterIP") == address if address else objects.OBJECT_NAME in marks


def tenants_wish(body: Object) -> Object:
    """Return what of a host Service the tenant asked for: neither what the host assigns, nor whose it is.

    None of that is ever taken away without a change of something else (its type, a policy).
    """
    kept = {field: value for field, value in objects.spec(body).items() if field not in _ASSIGNED}
    ports = [{field: port[field] for field in port if field != "nodePort"} for port in kept.get("ports") or ()]
    notes = {key: value for key, value in objects.annotations(body).items() if key not in _OWNERSHIP}
    return {"spec": kept | {"ports": ports}, "metadata": objects.metadata(body) | {"annotations": notes}}


def update(wanted: Object, host: Object, mapping: Mapping) -> list[HostPatch]:
    """Return the patch of a host Service, none for a reservation that lacks only the mark of its owner."""
    change = host_patch(wanted, host, mapping)
    if not change or (objects.RESERVATION in objects.annotations(host) and _is_ownership(change)):
        return []
    return [("merge", "", change)]


def _is_ownership(change: Object) -> bool:
    return (
        {*change} == {"metadata"}
        and {*change["metadata"]} == {"annotations"}
        and {*objects.annotations(change)} <= (_OWNERSHIP)
    )


def has_selector(service: Object) -> bool:
    """Whether Kubernetes finds the Service's endpoints by itself."""
    return bool(objects.spec(service).get("selector"))


SERVICE = Mapping(
    resource=SERVICES,
    to_host=(
        Copy("spec.{type,externalName,clusterIP,clusterIPs,ipFamilies,ipFamilyPolicy}"),
        Copy("spec.{sessionAffinity,internalTrafficPolicy,externalTrafficPolicy,trafficDistribution}"),
        Copy("spec.{publishNotReadyAddresses,allocateLoadBalancerNodePorts,healthCheckNodePort}"),
        Copy("spec.loadBalancerSourceRanges"),
        Copy("spec.sessionAffinityConfig.clientIP.timeoutSeconds"),
        Copy("spec.ports[*].{name,protocol,port,targetPort,nodePort,appProtocol}"),
        Labels("spec.selector"),
        Guard("spec.{externalIPs,loadBalancerIP}", unset, _BORROWED),
        Guard("spec.loadBalancerClass", unset, _CLASS),
    ),
    to_virtual=(
        Copy("status.loadBalancer.ingress[*].{ip,hostname,ipMode}"),
        Copy("status.loadBalancer.ingress[*].ports[*].{port,protocol,error}"),
    ),
    wanted=is_of_the_tenant,
    adopts=is_reservation_of,
    digested=tenants_wish,
    update=update,
)
