"""Secrets that the host issues: shown inside, never over a tenant's own, and not shown longer than they are named."""

from __future__ import annotations

from typing import Any

import pytest

from loft.core.action import Create, Delete, Event, Patch
from loft.hypervisor.core.body import digest
from loft.hypervisor.core.issued import content, plan_issued
from loft.hypervisor.core.side import Step

KEY = ("web", "tls")
Object = dict[str, Any]


def host(data: dict[str, str] | None = None, **more: Any) -> Object:
    metadata = {"name": "tls-x-web-x-dev", "namespace": "vc", "uid": "h1"} | more.pop("metadata", {})
    return {"metadata": metadata, "type": "kubernetes.io/tls", "data": data or {"tls.crt": "YQ=="}} | more


def shown(data: dict[str, str] | None = None, applied: str = "", **more: Any) -> Object:
    body: Object = {"type": "kubernetes.io/tls", "data": data or {"tls.crt": "YQ=="}} | more
    notes = {"vcluster.loft.sh/applied": applied or digest(content(body))}
    labels = {"vcluster.loft.sh/reflected": "true"}
    return body | {"metadata": {"name": "tls", "namespace": "web", "uid": "v1", "labels": labels, "annotations": notes}}


def own() -> Object:
    return {"metadata": {"name": "tls", "namespace": "web", "uid": "v1"}, "data": {"tls.crt": "bWluZQ=="}}


def plan(there: Object | None, inside: Object | None, *, named: bool = True) -> list[Step]:
    steps = plan_issued(KEY, there, inside, named=named)
    assert all(step.side == "virtual" for step in steps)
    return steps


def test_it_is_made_inside_with_nothing_but_type_and_data() -> None:
    marked = host(metadata={"annotations": {"a": "b"}, "labels": {"c": "d"}, "finalizers": ["x"]}, immutable=True)
    (step,) = plan(marked, None)
    assert isinstance(step.action, Create)
    body = step.action.body
    assert (body["metadata"]["namespace"], body["metadata"]["name"]) == KEY
    assert body["data"] == {"tls.crt": "YQ=="} and body["type"] == "kubernetes.io/tls"
    assert set(body["metadata"]) == {"name", "namespace", "labels", "annotations"} and "immutable" not in body
    made = body | {"metadata": body["metadata"] | {"uid": "v1"}}
    assert plan(marked, made) == []


def test_a_renewal_follows_and_keys_that_went_go() -> None:
    (step,) = plan(host({"tls.crt": "Yg==", "ca.crt": "Yw=="}), shown({"tls.crt": "YQ==", "old": "YQ=="}))
    assert isinstance(step.action, Patch) and isinstance(step.action.patch, dict)
    assert step.action.uid == "v1" and step.action.patch["metadata"]["uid"] == "v1"
    assert step.action.patch["data"] == {"tls.crt": "Yg==", "ca.crt": "Yw==", "old": None}


@pytest.mark.parametrize("there", [None, host()])
@pytest.mark.parametrize("named", [True, False])
def test_a_secret_of_the_tenant_is_never_touched(there: Object | None, named: bool) -> None:
    assert plan(there, own(), named=named) == []


def test_what_the_tenant_changes_becomes_the_tenants() -> None:
    changed = shown({"tls.crt": "bWluZQ=="}, applied=digest(content(host())))
    patch, event = plan(host(), changed)
    assert isinstance(patch.action, Patch) and isinstance(patch.action.patch, dict)
    assert "data" not in patch.action.patch
    assert patch.action.patch["metadata"]["labels"] == {"vcluster.loft.sh/reflected": None}
    assert isinstance(event.action, Event) and event.action.reason == "LetGo"


MADE_FROM_A_TENANTS = {"metadata": {"labels": {"vcluster.loft.sh/managed-by": "other"}}}


@pytest.mark.parametrize(
    "there",
    [
        None,
        host(type="kubernetes.io/service-account-token"),
        host(type="bootstrap.kubernetes.io/token"),
        host(type="helm.sh/release.v1"),
        host(**MADE_FROM_A_TENANTS),
        host(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ],
)
def test_what_may_not_be_shown_is_not_and_goes(there: Object | None) -> None:
    assert plan(there, None) == []
    (step,) = plan(there, shown())
    assert isinstance(step.action, Delete) and step.action.uid == "v1"


def test_what_nothing_on_the_host_names_is_not_shown() -> None:
    assert plan(host(), None, named=False) == []
    (step,) = plan(host(), shown(), named=False)
    assert isinstance(step.action, Delete)


def test_another_type_needs_another_object() -> None:
    (step,) = plan(host(type="Opaque"), shown())
    assert isinstance(step.action, Delete)
