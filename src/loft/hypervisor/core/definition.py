"""The definition of a custom kind inside, made from the host's: one version, no conversion, nobody else's marks."""

from __future__ import annotations

from loft.core.resource import CRDS, Resource
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.reflection import REFLECTED

APPROVED = "api-approved.kubernetes.io"
"""Without this annotation an API server refuses definitions in groups of Kubernetes."""
_VERSION_FIELDS = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")


def definition_name(resource: Resource) -> str:
    """Return the name of a kind's definition."""
    return f"{resource.plural}.{resource.group}"


def inside_definition(host: Object, resource: Resource) -> Object | None:
    """Return the definition to put inside, None when the host does not serve the version that is synced."""
    spec = objects.spec(host)
    found = [item for item in spec.get("versions") or () if item.get("name") == resource.version and item.get("served")]
    if not found:
        return None
    version = {field: found[0][field] for field in _VERSION_FIELDS if field in found[0]}
    approved = {key: text for key, text in objects.annotations(host).items() if key == APPROVED}
    names = {key: value for key, value in (spec.get("names") or {}).items() if key != "categories"}
    return {
        "apiVersion": CRDS.api_version,
        "kind": CRDS.kind,
        "metadata": {
            "name": definition_name(resource),
            "labels": {REFLECTED: "true"},
            **({"annotations": approved} if approved else {}),
        },
        "spec": {
            "group": resource.group,
            "names": names,
            "scope": spec.get("scope"),
            "versions": [{"name": resource.version, "served": True, "storage": True, **version}],
        },
    }
