"""Mapped Services as plans, and which mappings are refused before anything runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.core.action import Create, Delete, Event, Patch
from loft.hypervisor.config import ConfigError, parse_config
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.plan import plan
from loft.hypervisor.core.side import Step
from loft.hypervisor.kinds.mappedservice import MAPPED_SERVICE, plan_from_host, unmappable
from loft.hypervisor.kinds.service import is_of_the_tenant
from loft.hypervisor.settings import Settings

Object = dict[str, Any]
NAMES = Names("dev", "vc")
OWNER = {"apiVersion": "v1", "kind": "Service", "name": "dev", "uid": "o"}
CONTEXT = Context(
    settings=Settings(name="dev", host_namespace="vc", owner=OWNER),
    now=datetime(2026, 1, 1, tzinfo=UTC),
    mapped_to="db",
)


def host(**spec: Any) -> Object:
    body = {"type": "NodePort", "clusterIP": "10.96.0.5", "selector": {"app": "db"}, "ports": [port(5432, nodePort=3)]}
    return {"metadata": {"name": "db", "namespace": "data", "uid": "h"}, "spec": body | spec}


def port(number: int, **more: Any) -> Object:
    return {"name": "sql", "port": number, "protocol": "TCP", "targetPort": 1, **more}


def inside(labels: Object | None = None, **spec: Any) -> Object:
    ports = [port(5432, targetPort=5432)]
    body = {"type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ports": ports} | spec
    metadata = {"name": "base", "namespace": "apps", "uid": "v", "labels": labels or {objects.MAPPED: "true"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": body}


def from_host(there: Object | None, here: Object | None, namespace: Object | None = None) -> list[Step]:
    return plan_from_host("apps/base", (there, here), namespace or {"metadata": {"name": "apps"}}, NAMES, CONTEXT)


def test_a_service_of_the_host_is_shown_with_its_address_and_without_its_selector() -> None:
    (step,) = from_host(host(), None)
    assert step.side == "virtual" and isinstance(step.action, Create)
    assert step.action.body["spec"] == {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.5",
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
    }
    assert not is_of_the_tenant(step.action.body, CONTEXT)


def test_it_is_settled_then_and_follows_ports() -> None:
    assert not from_host(host(), inside())
    (step,) = from_host(host(ports=[port(5433)]), inside())
    assert isinstance(step.action, Patch) and step.action.uid == "v"
    assert step.action.patch["spec"]["ports"][0]["port"] == 5433


def test_what_a_tenant_makes_of_it_is_undone() -> None:
    (step,) = from_host(host(), inside(selector={"app": "mine"}, externalIPs=["192.0.2.1"]))
    assert isinstance(step.action, Patch)
    assert step.action.patch["spec"] == {"selector": None, "externalIPs": None}


@pytest.mark.parametrize(
    "there",
    [
        None,
        host(clusterIP="10.96.0.6"),
        host(clusterIP="None"),
        host(type="ExternalName", clusterIP=None),
        host() | {"metadata": {"name": "db", "namespace": "data", "labels": {objects.MANAGED_BY: "other"}}},
        host() | {"metadata": {"name": "db", "namespace": "data", "deletionTimestamp": "now"}},
    ],
    ids=["gone", "moved", "headless", "alias", "of a virtual cluster", "going"],
)
def test_what_leads_elsewhere_by_now_is_removed_by_uid(there: Object | None) -> None:
    (step,) = from_host(there, inside())
    assert isinstance(step.action, Delete) and step.action.uid == "v"
    if there and objects.spec(there)["clusterIP"] != "10.96.0.6" and "deletionTimestamp" not in there["metadata"]:
        assert unmappable(there)


def test_a_service_of_the_tenants_own_stays_and_is_told() -> None:
    (step,) = from_host(host(), inside({"app": "mine"}, clusterIP="10.96.0.9"))
    assert isinstance(step.action, Event) and step.action.reason == "MappedNameTaken"


def test_what_is_kept_inside_for_other_reasons_is_no_mapped_service() -> None:
    kept = inside({"loft.sh/kept": "true"})
    assert is_of_the_tenant(kept, CONTEXT)
    assert not from_host(None, kept)


def test_a_namespace_is_made_and_one_that_goes_is_waited_for() -> None:
    first, second = plan_from_host("apps/base", (host(), None), None, NAMES, CONTEXT)
    assert isinstance(first.action, Create) and first.action.body["kind"] == "Namespace"
    assert isinstance(second.action, Create)
    assert not from_host(host(), None, {"metadata": {"name": "apps", "deletionTimestamp": "now"}})


def test_a_service_inside_gets_a_second_one_with_a_plain_name() -> None:
    virtual = inside({"app": "x"}, selector={"app": "db"}, type="NodePort", ports=[port(80, nodePort=30080)])
    (step,) = plan(MAPPED_SERVICE, virtual, None, NAMES, CONTEXT)
    assert step.side == "host" and isinstance(step.action, Create)
    body = step.action.body
    assert (body["metadata"]["name"], body["metadata"]["namespace"]) == ("db", "vc")
    assert body["metadata"]["ownerReferences"] == [OWNER]
    assert body["spec"]["ports"] == [{"name": "sql", "port": 80, "protocol": "TCP", "targetPort": 1}]
    assert body["spec"]["selector"] == {"label.vcluster.loft.sh/app": "db"} | NAMES.selector("apps")
    assert body["spec"]["type"] == "ClusterIP" and "clusterIP" not in body["spec"]
    assert not plan(MAPPED_SERVICE, virtual, body | {"metadata": body["metadata"] | {"uid": "h"}}, NAMES, CONTEXT)


@pytest.mark.parametrize(
    ("virtual", "names"),
    [
        (inside({"app": "x"}), "spec.selector"),
        (inside({"app": "x"}, selector={"a": "b"}, type="ExternalName", externalName="x.org"), "spec.externalName"),
    ],
)
def test_what_cannot_be_found_outside_is_told(virtual: Object, names: str) -> None:
    (step,) = plan(MAPPED_SERVICE, virtual, None, NAMES, CONTEXT)
    assert isinstance(step.action, Event) and names in step.action.message


LEAST = '{"name":"dev","namespace":"team","serviceCidr":"10.96.0.0/16",'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"fromHost":[{"from":"data/db","to":"db"}]', "NAMESPACE/NAME"),
        ('"fromHost":[{"from":"db","to":"apps/db"}]', "NAMESPACE/NAME"),
        ('"fromHost":[{"from":"data/db","to":"default/kubernetes"}]', "own Service"),
        ('"fromHost":[{"from":"data/db","to":"a/b"},{"from":"data/db","to":"a/c"}]', "twice"),
        ('"fromHost":[{"from":"data/db","to":"a/b"},{"from":"data/c","to":"a/b"}]', "twice"),
        ('"fromVirtual":[{"from":"apps/db","to":"db-x-apps-x-dev"}]', "-x-"),
        ('"fromVirtual":[{"from":"apps/db","to":"a/b"}]', "not a Service's name"),
        ('"fromVirtual":[{"from":"default/kubernetes","to":"db"}]', "own Service"),
        ('"fromVirtual":[{"from":"apps/db","to":"db"},{"from":"apps/c","to":"db"}]', "twice"),
    ],
)
def test_mappings_that_cannot_be_followed_are_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config((LEAST + text + "}").encode())
