"""Which Services get their addresses from the host before they exist, and which are left alone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.core.action import Create
from loft.hypervisor.admission_plan import (
    Allow,
    Amend,
    Reserve,
    address_patch,
    decide,
    reservation,
    webhook_configuration,
)
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.plan import plan
from loft.hypervisor.kinds.service import SERVICE, is_reservation_of
from loft.hypervisor.settings import Settings

Object = dict[str, Any]
NAMES = Names("dev", "vc")
CONTEXT = Context(settings=Settings(name="dev", host_namespace="vc"), now=datetime(2026, 1, 1, tzinfo=UTC))


def service(**spec: Any) -> Object:
    return {"metadata": {"name": "web"}, "spec": {"type": "ClusterIP", "ports": [port(80)], **spec}}


def port(number: int, **fields: Any) -> Object:
    return {"port": number, "protocol": "TCP", "targetPort": 8080, **fields}


def create(new: Object, **more: Any) -> Object:
    return {"operation": "CREATE", "object": new, **more}


def update(new: Object, old: Object) -> Object:
    return {"operation": "UPDATE", "object": new, "oldObject": old}


def host(**spec: Any) -> Object:
    return {"metadata": {"name": "web-x-default-x-dev", "uid": "h"}, "spec": {"clusterIP": "10.96.0.9", **spec}}


def test_a_new_service_is_reserved_without_a_selector() -> None:
    new = service(selector={"app": "web"})
    assert decide(create(new), None) == Reserve({"type": "ClusterIP", "ports": [{"protocol": "TCP", "port": 80}]})


@pytest.mark.parametrize(
    "new",
    [
        service(clusterIP="None"),
        {"metadata": {"name": "web"}, "spec": {"type": "ExternalName", "externalName": "example.com"}},
    ],
    ids=["headless", "alias"],
)
def test_what_has_no_address_is_left_alone(new: Object) -> None:
    assert decide(create(new), None) == Allow()


def test_a_dry_run_reserves_nothing() -> None:
    assert decide(create(service(), dryRun=True), None) == Allow()


def test_a_create_that_is_going_to_fail_reserves_nothing() -> None:
    assert decide(create(service()), None, exists=True) == Allow()


def test_an_address_of_the_tenants_choice_is_asked_for_on_the_host() -> None:
    decision = decide(create(service(clusterIP="10.96.0.77")), None)
    assert isinstance(decision, Reserve)
    assert decision.spec["clusterIP"] == "10.96.0.77"


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_node_ports_are_reserved_too(kind: str) -> None:
    decision = decide(create(service(type=kind, ports=[port(80, nodePort=30080), port(81)])), None)
    assert isinstance(decision, Reserve)
    assert decision.spec["type"] == "NodePort"
    assert [item.get("nodePort") for item in decision.spec["ports"]] == [30080, None]


def test_a_load_balancer_without_node_ports_is_reserved_as_cluster_ip() -> None:
    decision = decide(create(service(type="LoadBalancer", allocateLoadBalancerNodePorts=False)), None)
    assert isinstance(decision, Reserve)
    assert decision.spec["type"] == "ClusterIP"


def review(new: Object) -> Object:
    return create(new, uid="r1", namespace="default", name=new["metadata"].get("name", ""))


def test_a_reservation_says_all_that_is_wanted_but_the_owner() -> None:
    new = service(selector={"app": "web"})
    made = reservation(review(new), {}, NAMES, CONTEXT)
    inside = new | {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}}
    inside["spec"] = inside["spec"] | {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"]}
    (step,) = plan(SERVICE, inside, None, NAMES, CONTEXT)
    assert isinstance(step.action, Create)
    wanted = step.action.body
    assert made["metadata"]["name"] == wanted["metadata"]["name"]
    assert made["metadata"]["labels"] == wanted["metadata"]["labels"]
    assert made["spec"] == {
        key: value for key, value in wanted["spec"].items() if not key.startswith(("cluster", "ip"))
    }
    notes = wanted["metadata"]["annotations"] | {objects.RESERVATION: "r1"}
    del notes[objects.OBJECT_UID]
    assert made["metadata"]["annotations"] == notes
    # Adopted as it is: the address says whose it is.
    there = made | {"spec": wanted["spec"]}
    assert plan(SERVICE, inside, there, NAMES, CONTEXT) == []


@pytest.mark.parametrize(
    "new",
    [
        {"metadata": {"generateName": "web-"}, "spec": service()["spec"]},
        service(type="LoadBalancer"),
        service(externalIPs=["192.0.2.1"]),
    ],
    ids=["no name yet", "load balancer", "a refused field"],
)
def test_where_something_is_left_to_say_a_reservation_holds_addresses_only(new: Object) -> None:
    made = reservation(review(new), {"type": "ClusterIP"}, NAMES, CONTEXT)
    assert made["spec"] == {"type": "ClusterIP"}
    assert made["metadata"]["annotations"] == {objects.RESERVATION: "r1", objects.OBJECT_NAMESPACE: "default"}


def test_an_alias_has_what_was_reserved_under_its_name() -> None:
    made = reservation(review(service()), {}, NAMES, CONTEXT)
    made["spec"] |= {"clusterIP": "10.96.0.9"}
    alias = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": {"type": "ExternalName"}}
    assert is_reservation_of(alias, made)
    assert not is_reservation_of(alias | {"metadata": {"name": "other", "namespace": "default"}}, made)
    assert not is_reservation_of(alias | {"spec": {"clusterIP": "10.96.0.8"}}, made)
    assert not is_reservation_of(alias | {"spec": {"clusterIP": "None"}}, made)


def test_an_update_that_changes_no_address_is_let_through() -> None:
    old = service(clusterIP="10.96.0.9")
    new = service(clusterIP="10.96.0.9", ports=[port(80), port(81)])
    assert decide(update(new, old), host()) == Allow()


def test_an_alias_that_becomes_a_service_gets_the_host_services_address() -> None:
    old = {"metadata": {"name": "web"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    decision = decide(update(service(), old), {"metadata": {"name": "h", "uid": "u"}, "spec": {"type": "ExternalName"}})
    assert isinstance(decision, Amend)
    assert (decision.name, decision.uid) == ("h", "u")
    assert decision.spec["type"] == "ClusterIP"
    assert decision.spec["externalName"] is None


def test_an_alias_that_was_never_on_the_host_is_reserved() -> None:
    old = {"metadata": {"name": "web"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert isinstance(decide(update(service(), old), None), Reserve)


def test_node_ports_known_already_are_kept_and_new_ones_asked_for() -> None:
    old = service(type="NodePort", clusterIP="10.96.0.9", ports=[port(80, nodePort=30080)])
    new = service(type="NodePort", clusterIP="10.96.0.9", ports=[port(80), port(81)])
    own = host(type="NodePort", ports=[port(80, nodePort=30080)])
    decision = decide(update(new, old), own)
    assert isinstance(decision, Amend)
    assert [item.get("nodePort") for item in decision.spec["ports"]] == [30080, None]


def test_the_patch_gives_the_hosts_addresses() -> None:
    new = service(type="NodePort", ports=[port(80), port(53, protocol="UDP")])
    made = host(type="NodePort", ports=[port(53, protocol="UDP", nodePort=30053), port(80, nodePort=30080)])
    assert address_patch(new, made) == [
        {"op": "add", "path": "/spec/clusterIP", "value": "10.96.0.9"},
        {"op": "add", "path": "/spec/ports/0/nodePort", "value": 30080},
        {"op": "add", "path": "/spec/ports/1/nodePort", "value": 30053},
    ]


def test_nothing_is_patched_when_both_agree() -> None:
    assert address_patch(service(clusterIP="10.96.0.9"), host()) == []


def test_services_are_not_admitted_without_us() -> None:
    webhook = webhook_configuration("https://127.0.0.1:10251/services", "Y2E=")["webhooks"][0]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["sideEffects"] == "NoneOnDryRun"
