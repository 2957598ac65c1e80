"""What is synced: one declarative file for each kind. A kind that is not here never leaves its cluster."""

from __future__ import annotations

from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.kinds.configmap import CONFIGMAP
from loft.hypervisor.kinds.endpointslice import ENDPOINTSLICE
from loft.hypervisor.kinds.networkpolicy import NETWORKPOLICY
from loft.hypervisor.kinds.persistentvolumeclaim import PERSISTENTVOLUMECLAIM
from loft.hypervisor.kinds.pod import POD
from loft.hypervisor.kinds.secret import SECRET
from loft.hypervisor.kinds.service import SERVICE

REGISTRY: dict[str, Mapping] = {
    mapping.key: mapping
    for mapping in (CONFIGMAP, ENDPOINTSLICE, NETWORKPOLICY, PERSISTENTVOLUMECLAIM, POD, SECRET, SERVICE)
}
"""Kinds with a host object for each virtual one; Node and Event come from the host and have plans of their own."""
