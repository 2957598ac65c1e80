"""Discovery and OpenAPI of both groups as they are served."""

from __future__ import annotations

from typing import Any, cast

import pytest

from loft.apiserver import discovery, openapi
from loft.apiserver.authorize import Reviewer
from loft.apiserver.declaration import Group
from loft.cluster.group import cluster_group
from loft.cluster.tenants import Tenants
from loft.core.resource import VIRTUALCLUSTERS
from loft.kube.client import Client
from loft.kube.informer import Informer
from loft.management.group import Deployment, management_group

NOBODY = cast(Any, None)
CLIENT = cast(Client, None)


def groups() -> tuple[Group, ...]:
    """The groups themselves; they are declarations, so nothing is called while they are described."""
    reviewer = Reviewer(CLIENT)
    deployment = Deployment(client=CLIENT, reviewer=reviewer, namespace="loft", sign=NOBODY, connect=NOBODY)
    tenants = cast(Tenants, None)
    return (cluster_group(CLIENT, reviewer, tenants, Informer(CLIENT, VIRTUALCLUSTERS)), management_group(deployment))


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(references(inner) for inner in value))
    return set()


@pytest.mark.parametrize("group", groups(), ids=lambda group: group.name)
def test_every_reference_leads_somewhere(group: Group) -> None:
    three = openapi.v3(group)
    known = {f"#/components/schemas/{name}" for name in three["components"]["schemas"]}
    assert references(three) and references(three) <= known
    two = openapi.v2((group,), "1")
    assert references(two) <= {f"#/definitions/{name}" for name in two["definitions"]}
    identifiers = [operation["operationId"] for operation in _operations(three)]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("group", groups(), ids=lambda group: group.name)
def test_what_is_discovered_is_described_and_the_other_way(group: Group) -> None:
    paths = openapi.v3(group)["paths"]
    base = f"/apis/{group.name}/{group.version}"
    for declaration in group.declarations:
        scope = "/namespaces/{namespace}" if declaration.resource.namespaced else ""
        one = f"{base}{scope}/{declaration.resource.plural}/{{name}}"
        assert ("patch" in declaration.verbs) == ("patch" in paths.get(one, {}))
        for sub in declaration.subresources:
            assert set(paths[f"{one}/{sub.name}"]) - {"parameters"} == {
                {"create": "post", "update": "put"}.get(verb, verb) for verb in sub.verbs
            }
    served = {f"{resource['name']}" for resource in discovery.resource_list(group)["resources"]}
    aggregated = discovery.aggregated((group,))["items"][0]["versions"][0]["resources"]
    assert {entry["resource"] for entry in aggregated} == {name for name in served if "/" not in name}


def test_no_strategic_merge_patch_is_offered() -> None:
    for group in groups():
        for operation in _operations(openapi.v3(group)):
            assert not any("strategic" in media for media in operation.get("requestBody", {}).get("content", {}))


def test_writes_take_the_parameters_kubectl_looks_for() -> None:
    """kubectl apply and --dry-run=server look for these by the kind of a PATCH."""
    for group in groups():
        for operation in _operations(openapi.v3(group)):
            if operation["x-kubernetes-action"] == "patch":
                names = {parameter["name"] for parameter in operation["parameters"]}
                assert {"dryRun", "fieldValidation", "fieldManager", "force"} <= names


def test_the_index_changes_with_the_document() -> None:
    one, two = groups()
    first = openapi.v3_index((one,))["paths"]["apis/cluster.loft.sh/v1"]["serverRelativeURL"]
    again = openapi.v3_index((one, two))["paths"]["apis/cluster.loft.sh/v1"]["serverRelativeURL"]
    assert first == again and first.startswith("/openapi/v3/apis/cluster.loft.sh/v1?hash=")
    smaller = Group(name=one.name, version=one.version, declarations=one.declarations[:1])
    assert openapi.v3_index((smaller,))["paths"]["apis/cluster.loft.sh/v1"]["serverRelativeURL"] != first


def test_no_password_or_hash_is_described_for_reading() -> None:
    management = groups()[1]
    schemas = openapi.v3(management)["components"]["schemas"]
    owned = schemas["sh.loft.management.v1.OwnedAccessKey"]["properties"]["spec"]["properties"]
    assert "keyHash" not in owned and "tokenGeneration" not in owned


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        operation for item in document["paths"].values() for method, operation in item.items() if method != "parameters"
    ]
