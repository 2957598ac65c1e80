"""Service: ports and selector go to the host, load balancer addresses come back.

Only the host's kube-proxy routes ClusterIPs, so the host Service exists before the virtual one: admission makes it
as a reservation whose ClusterIP the virtual Service gets, and it is adopted here by that address. Where there is
none (headless, ExternalName, or the host object was lost) it is created with the virtual object's addresses.
Source: kubernetes.io/docs/concepts/services-networking/service.
"""

from __future__ import annotations

from loft.core.resource import SERVICES
from loft.hypervisor.core import objects
from loft.hypervisor.core.baseline import unset
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Copy, Guard, Labels, Mapping
from loft.hypervisor.core.objects import Object

API_SERVER = "default/kubernetes"
METRICS = "kube-system/loft-hypervisor"

_BORROWED = "tenants may not claim addresses of the host network (CVE-2020-8554)"
_CLASS = "load balancer classes belong to the host cluster"


def is_not_api_server(virtual: Object, context: Context) -> bool:
    """Sync all but the Services in front of the virtual API server and of its metrics: they lead to ourselves."""
    return objects.key(virtual) not in (API_SERVER, METRICS)


def is_reservation_of(virtual: Object, host: Object) -> bool:
    """Whether a host Service was reserved for this one: it has its ClusterIP and no owner yet."""
    marks = objects.annotations(host)
    address = objects.spec(virtual).get("clusterIP")
    return (
        objects.RESERVATION in marks
        and address not in (None, "", "None")
        and objects.spec(host).get("clusterIP") == address
        and marks.get(objects.OBJECT_NAMESPACE, objects.namespace(virtual)) == objects.namespace(virtual)
        and not objects.is_deleting(host)
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
    wanted=is_not_api_server,
    adopts=is_reservation_of,
)
