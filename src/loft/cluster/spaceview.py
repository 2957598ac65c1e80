"""A space and its Namespace: the same object in two shapes. Pure.

Labels and annotations are the same on both sides, but for the label that makes a namespace a space and the two
annotations that hold its owner: those are `spec.user` and `spec.team` on a Space and cannot be set by hand there.
"""

from __future__ import annotations

from typing import Any

from loft.api.space import OWNER_TEAM, OWNER_USER, SPACE_LABEL
from loft.core.resource import NAMESPACES, Resource

Object = dict[str, Any]

SPACES = Resource("cluster.loft.sh", "v1", "spaces", "Space", namespaced=False)
OWNERS = {OWNER_USER: "user", OWNER_TEAM: "team"}

# Labels and annotations that other parts of the cluster act on: what a namespace may run (Pod Security
# Admission), what the platform keeps about it. Owners may set all others.
PROTECTED_DOMAINS = ("kubernetes.io", "k8s.io")
PROTECTED = (SPACE_LABEL, OWNER_USER, OWNER_TEAM)


def to_space(namespace: Object) -> Object:
    """Return the Space that a Namespace is."""
    metadata = dict(namespace["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    labels = dict(metadata.get("labels") or {})
    owner = {field: annotations.pop(key) for key, field in OWNERS.items() if annotations.get(key)}
    labels.pop(SPACE_LABEL, None)
    for name, values in (("labels", labels), ("annotations", annotations)):
        if values:
            metadata[name] = values
        else:
            metadata.pop(name, None)
    if metadata.get("managedFields"):
        metadata["managedFields"] = [_managed_outward(entry) for entry in metadata["managedFields"]]
    spec: Object = dict(owner)
    if finalizers := (namespace.get("spec") or {}).get("finalizers"):
        spec["finalizers"] = finalizers
    status: Object = {"phase": (namespace.get("status") or {}).get("phase") or "Active"}
    if owner:
        status["owner"] = {field: {"name": name} for field, name in owner.items()}
    return {
        "apiVersion": SPACES.api_version,
        "kind": SPACES.kind,
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def to_namespace(space: Object) -> Object:
    """Return the Namespace for a Space (whole, or the fields of a server-side apply)."""
    metadata = dict(space["metadata"])
    spec = space.get("spec") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in OWNERS}
    annotations |= {key: spec[field] for key, field in OWNERS.items() if spec.get(field)}
    metadata["labels"] = (metadata.get("labels") or {}) | {SPACE_LABEL: "true"}
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    # managedFields of the Space speak of other fields; the server keeps its own record of the Namespace.
    metadata.pop("managedFields", None)
    return {"apiVersion": NAMESPACES.api_version, "kind": NAMESPACES.kind, "metadata": metadata}


def is_space(namespace: Object) -> bool:
    """Tell whether a namespace is a space."""
    return ((namespace.get("metadata") or {}).get("labels") or {}).get(SPACE_LABEL) == "true"


def owner_of(space: Object) -> tuple[str, str]:
    """Return (user, team) of a Space; both "" when nobody owns it."""
    spec = space.get("spec") or {}
    return spec.get("user") or "", spec.get("team") or ""


def protected_changes(before: Object, after: Object) -> list[str]:
    """Return the paths of protected metadata that differ between two Spaces.

    References to owners and finalizers are protected too: the agent writes them with its own rights, so the
    API server would not ask whether the caller may touch the objects they name.
    """
    found = [
        f"metadata.{part}"
        for part in ("finalizers", "ownerReferences")
        if ((before.get("metadata") or {}).get(part) or []) != ((after.get("metadata") or {}).get(part) or [])
    ]
    for part in ("labels", "annotations"):
        old = (before.get("metadata") or {}).get(part) or {}
        new = (after.get("metadata") or {}).get(part) or {}
        found += [
            f"metadata.{part}[{key}]"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and _is_protected(key)
        ]
    return found


def _is_protected(key: str) -> bool:
    domain = key.split("/")[0] if "/" in key else ""
    if key == "kubectl.kubernetes.io/last-applied-configuration" or key == "kubernetes.io/metadata.name":
        return False
    inside = any(domain == name or domain.endswith(f".{name}") for name in PROTECTED_DOMAINS)
    return inside or key in PROTECTED


def _managed_outward(entry: Object) -> Object:
    fields = entry.get("fieldsV1")
    shown = entry | {"apiVersion": SPACES.api_version}
    if not isinstance(fields, dict):
        return shown
    metadata = dict(fields.get("f:metadata") or {})
    annotations = dict(metadata.get("f:annotations") or {})
    owner: Object = {f"f:{field}": {} for key, field in OWNERS.items() if annotations.pop(f"f:{key}", None) is not None}
    labels = {key: value for key, value in (metadata.get("f:labels") or {}).items() if key != f"f:{SPACE_LABEL}"}
    for name, values in (("f:annotations", annotations), ("f:labels", labels)):
        if values and set(values) != {"."}:
            metadata[name] = values
        else:
            metadata.pop(name, None)
    translated = {key: value for key, value in fields.items() if key not in ("f:metadata", "f:spec", "f:status")}
    if metadata:
        translated["f:metadata"] = metadata
    if owner:
        translated["f:spec"] = owner
    if "f:status" in fields:
        translated["f:status"] = {"f:phase": {}}
    return shown | {"fieldsV1": translated}
