"""Which Services get their addresses from the host before they exist, and which are left alone."""

from typing import Any

import pytest

from loft.hypervisor.admission_plan import Allow, Amend, Reserve, address_patch, decide, webhook_configuration

Object = dict[str, Any]


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
