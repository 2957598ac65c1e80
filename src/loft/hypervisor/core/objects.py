"""Reading Kubernetes objects and the marks that host objects carry.

Foreign objects stay plain dicts and are never changed in place: they belong to an informer's cache.
The marks say whose host object it is; they are written by us only and are believed only together with
the `managed-by` label of this virtual cluster.
"""

from typing import Any

Object = dict[str, Any]

PREFIX = "vcluster.loft.sh/"
MANAGED_BY = PREFIX + "managed-by"
NAMESPACE = PREFIX + "namespace"
HOST_NAMESPACE = PREFIX + "host-namespace"
"""On cluster-scoped host objects: virtual clusters of one name in different namespaces share the host."""
EGRESS_RULED = PREFIX + "egress-ruled"
"""Label of host Pods whose egress a tenant's NetworkPolicy rules: the platform's own policy lets go of those."""
OBJECT_NAME = PREFIX + "object-name"
OBJECT_NAMESPACE = PREFIX + "object-namespace"
OBJECT_UID = PREFIX + "object-uid"
OBJECT_KIND = PREFIX + "object-kind"
RESERVATION = PREFIX + "reservation"
"""Set on a host Service that holds a ClusterIP for a virtual Service still being created."""
APPLIED = PREFIX + "applied"
"""Digest of what we last wrote: tells a field the tenant removed from one the host filled in."""
HOST_NODE = PREFIX + "host-node"
"""Set on virtual Nodes that stand for a host node."""
MAPPED = PREFIX + "mapped"
"""Label of a Service inside that shows one of the host."""
RENEW_AT = PREFIX + "renew-at"
SIGNED_BY = PREFIX + "signed-by"


def metadata(obj: Object) -> Object:
    """Return the object's metadata, {} when it has none."""
    return obj.get("metadata") or {}


def name(obj: Object) -> str:
    """Return metadata.name."""
    return str(metadata(obj).get("name") or "")


def namespace(obj: Object) -> str:
    """Return metadata.namespace, "" for cluster-scoped objects."""
    return str(metadata(obj).get("namespace") or "")


def uid(obj: Object) -> str:
    """Return metadata.uid."""
    return str(metadata(obj).get("uid") or "")


def key(obj: Object) -> str:
    """Return `namespace/name`, or the name of a cluster-scoped object."""
    return f"{namespace(obj)}/{name(obj)}" if namespace(obj) else name(obj)


def labels(obj: Object) -> dict[str, str]:
    """Return metadata.labels, {} when absent."""
    return metadata(obj).get("labels") or {}


def annotations(obj: Object) -> dict[str, str]:
    """Return metadata.annotations, {} when absent."""
    return metadata(obj).get("annotations") or {}


def spec(obj: Object) -> Object:
    """Return spec, {} when absent."""
    return obj.get("spec") or {}


def status(obj: Object) -> Object:
    """Return status, {} when absent."""
    return obj.get("status") or {}


def containers(pod: Object) -> list[Object]:
    """Return all containers of a Pod: those that initialise it, its own, and those added for debugging."""
    fields = ("initContainers", "containers", "ephemeralContainers")
    return [item for field in fields for item in spec(pod).get(field) or ()]


def is_deleting(obj: Object) -> bool:
    """Whether a deletion has begun."""
    return bool(metadata(obj).get("deletionTimestamp"))


def owner_uid(host: Object) -> str:
    """Return the uid of the virtual object that a host object was made for, "" when it has no such mark."""
    return annotations(host).get(OBJECT_UID, "")


def virtual_key(host: Object) -> str:
    """Return the key of the virtual object that a host object was made for, "" when unmarked."""
    marks = annotations(host)
    if OBJECT_NAME not in marks or OBJECT_NAMESPACE not in marks:
        return ""
    return f"{marks[OBJECT_NAMESPACE]}/{marks[OBJECT_NAME]}" if marks[OBJECT_NAMESPACE] else marks[OBJECT_NAME]


def is_mapped(service: Object) -> bool:
    """Whether a Service inside shows one of the host."""
    return MAPPED in labels(service)


def find_condition(obj: Object, kind: str) -> Object:
    """Return the condition of a type in status.conditions, {} when absent."""
    for condition in status(obj).get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}
