"""What a plan may know beside the two objects: facts that the shell looked up before it asked.

A plan never reads anything itself; if it needs to know something, it is a field here.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from loft.hypervisor.core.objects import Object
from loft.hypervisor.settings import Settings


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Facts at the moment of planning."""

    settings: Settings
    now: datetime
    used: bool = True
    """ConfigMap, Secret: whether a synced Pod names it."""
    service: Object | None = None
    """EndpointSlice: the virtual Service it belongs to."""
    host_service: str = ""
    """EndpointSlice: name of that Service's host object, "" while there is none."""
    services: tuple[Object, ...] = ()
    """Pod: Services of its namespace, for environment variables."""
    env_from: dict[str, tuple[str, ...]] = {}
    """Pod: keys of ConfigMaps and Secrets named by envFrom, by `ConfigMap/name` or `Secret/name`."""
    dns_ip: str = ""
    """Pod: name server of the virtual cluster, "" while it has no DNS Service."""
    egress_ruled: bool = False
    """Pod: whether a NetworkPolicy of the tenant rules its egress, where the platform has a boundary."""
    inner_resources: frozenset[str] = frozenset()
    """Pod: resources that its virtual Node has and the host's has not; only where a scheduler inside counts them."""
    ports_taken: bool = False
    """Pod: whether another one has its host ports on the node that it names itself."""
    volume: Object | None = None
    """PersistentVolumeClaim: the virtual PersistentVolume that stands for its host volume."""
    namespaces: dict[str, dict[str, str]] = {}
    """Pod, NetworkPolicy: labels of the virtual namespaces, by name; only for one that selects namespaces."""
    host_names: dict[str, str] = {}
    """By `kind/name`: host names of what the object refers to, where they are not the usual ones."""
    mapped_to: str = ""
    """Service: the plain name under which it is found on the host."""
    own_secrets: frozenset[str] = frozenset()
    """Names of Secrets that the host would issue for the object, while the tenant has such of its own."""
    name_taken: bool = False
    """The host refused a create because an object that is not ours has this name."""
    reported: frozenset[str] = frozenset()
    """Refusals already told about this object (by uid), so that a plan does not repeat itself."""
