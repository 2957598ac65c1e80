"""EndpointSlice: those of Services without a selector go to the host; all others are found there from host Pods."""

from __future__ import annotations

from loft.core.resource import ENDPOINTSLICES
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Copy, Ignore, Mapping
from loft.hypervisor.core.objects import Object
from loft.hypervisor.kinds.service import has_selector

SERVICE_NAME = "kubernetes.io/service-name"
MANAGER = "endpointslice.kubernetes.io/managed-by"
OURS = "hypervisor.vcluster.loft.sh"
OF_SELECTOR = "endpointslice-controller.k8s.io"
"""Who makes the slices of Services with a selector: on both sides one for each, and none is ever synced."""


def service_key(virtual: Object) -> str:
    """Return `namespace/name` of the Service that a slice belongs to, "" when it belongs to none."""
    service = objects.labels(virtual).get(SERVICE_NAME, "")
    return f"{objects.namespace(virtual)}/{service}" if service else ""


def is_hand_made(virtual: Object, context: Context) -> bool:
    """Sync the slices of a selector-less Service once that Service is on the host."""
    service = context.service
    return bool(service and context.host_service and not has_selector(service))


def slice_labels(virtual: Object, context: Context) -> dict[str, str]:
    """Return the labels by which kube-proxy finds the slice."""
    return {SERVICE_NAME: context.host_service, MANAGER: OURS}


ENDPOINTSLICE = Mapping(
    resource=ENDPOINTSLICES,
    to_host=(
        Copy("addressType"),
        Copy("ports[*].{name,protocol,port,appProtocol}"),
        Copy("endpoints[*].{addresses,hostname,nodeName,zone}"),
        Copy("endpoints[*].conditions.{ready,serving,terminating}"),
        Ignore("endpoints[*].{targetRef,hints,deprecatedTopology}"),
    ),
    labels=slice_labels,
    seen_virtual=f"{MANAGER}!={OF_SELECTOR}",
    seen_host=f"{MANAGER}={OURS}",
    wanted=is_hand_made,
)
