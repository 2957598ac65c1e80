"""Discovery documents: which groups and resources are served. Pure.

Source: Kubernetes API concepts, "API Discovery"; apidiscovery.k8s.io/v2 (KEP-3352).
"""

from __future__ import annotations

from typing import Any

from loft.apiserver.declaration import Declaration, Group

Document = dict[str, Any]


def api_versions() -> Document:
    """/api: there is no core group here."""
    return {"kind": "APIVersions", "versions": [], "serverAddressByClientCIDRs": []}


def group_list(groups: tuple[Group, ...]) -> Document:
    """/apis."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups]}


def group(served: Group) -> Document:
    """/apis/GROUP."""
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(served)


def resource_list(served: Group) -> Document:
    """/apis/GROUP/VERSION."""
    resources: list[Document] = []
    for declaration in served.declarations:
        resource = declaration.resource
        entry: Document = {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": sorted(declaration.verbs),
        }
        if declaration.short_names:
            entry["shortNames"] = list(declaration.short_names)
        if declaration.categories:
            entry["categories"] = list(declaration.categories)
        resources.append(entry)
        resources += [
            {
                "name": f"{resource.plural}/{sub.name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": sub.kind.__name__,
                "verbs": sorted(sub.verbs),
            }
            for sub in declaration.subresources
        ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{served.name}/{served.version}",
        "resources": resources,
    }


def aggregated(groups: tuple[Group, ...]) -> Document:
    """/apis (or /api with no groups) as APIGroupDiscoveryList."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": served.name, "creationTimestamp": None},
                "versions": [
                    {
                        "version": served.version,
                        "resources": [_discovered(declaration) for declaration in served.declarations],
                        "freshness": "Current",
                    }
                ],
            }
            for served in groups
        ],
    }


def _group(served: Group) -> Document:
    version = {"groupVersion": f"{served.name}/{served.version}", "version": served.version}
    return {"name": served.name, "versions": [version], "preferredVersion": version}


def _discovered(declaration: Declaration) -> Document:
    resource = declaration.resource
    entry: Document = {
        "resource": resource.plural,
        "responseKind": _kind(declaration, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.kind.lower(),
        "verbs": sorted(declaration.verbs),
    }
    if declaration.short_names:
        entry["shortNames"] = list(declaration.short_names)
    if declaration.categories:
        entry["categories"] = list(declaration.categories)
    if declaration.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": _kind(declaration, sub.kind.__name__),
                "verbs": sorted(sub.verbs),
            }
            for sub in declaration.subresources
        ]
    return entry


def _kind(declaration: Declaration, kind: str) -> Document:
    return {"group": declaration.resource.group, "version": declaration.resource.version, "kind": kind}
