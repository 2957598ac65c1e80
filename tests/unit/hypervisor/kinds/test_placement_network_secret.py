"""Small rules with power: tolerations, affinity, DNS, Secret types, reservations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import ABSENT, At, Refused, Scope, compile_rules
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.translate import walk
from loft.hypervisor.kinds.node import inner_resources
from loft.hypervisor.kinds.persistentvolumeclaim import plan_volume
from loft.hypervisor.kinds.pod_network import dns_config, dns_policy, hostname
from loft.hypervisor.kinds.pod_placement import (
    PLACEMENT,
    affinity_term,
    amounts,
    node_terms,
    scheduler_name,
    tolerations,
)
from loft.hypervisor.kinds.secret import secret_type
from loft.hypervisor.kinds.service import is_reservation_of
from loft.hypervisor.settings import Settings


def at(source: dict[str, Any] | None = None, **settings: Any) -> At:
    context = Context(
        settings=Settings(name="dev", host_namespace="vc", **settings),
        now=datetime(2026, 1, 1, tzinfo=UTC),
        dns_ip="10.0.0.10",
    )
    source = source or {"metadata": {"name": "web", "namespace": "default"}, "spec": {}}
    return At("here", {}, Scope(Names("dev", "vc"), context, source, "default"))


@pytest.mark.parametrize(
    ("toleration", "crosses"),
    [
        ({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, True),
        ({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}, False),
        ({"operator": "Exists"}, False),
        ({"key": "gpu", "value": "yes"}, False),
    ],
)
def test_only_allowed_taints_are_tolerated_on_the_host(toleration: dict[str, Any], crosses: bool) -> None:
    assert (tolerations([toleration], at()) == [toleration]) is crosses


def test_the_host_can_offer_more_taints() -> None:
    assert tolerations([{"key": "gpu", "value": "yes", "future": 1}], at(tolerations=("gpu",))) == [
        {"key": "gpu", "value": "yes"}
    ]


HERE = {"key": "metadata.name", "operator": "In", "values": ["node-a"]}
SSD = {"key": "disk", "operator": "In", "values": ["ssd"]}


@pytest.mark.parametrize(
    ("terms", "crossed"),
    [
        (ABSENT, [{"matchFields": [HERE]}]),
        ([{"matchExpressions": [SSD]}], [{"matchExpressions": [SSD], "matchFields": [HERE]}]),
        ([{"matchFields": [HERE | {"operator": "NotIn"}]}], [{"matchFields": [HERE | {"operator": "NotIn"}, HERE]}]),
        ([{}], [{}]),
        ([{}, {"matchExpressions": [SSD]}], [{}, {"matchExpressions": [SSD], "matchFields": [HERE]}]),
    ],
)
def test_a_chosen_node_is_a_wish_that_the_hosts_scheduler_weighs(terms: Any, crossed: Any) -> None:
    bound = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"nodeName": "node-a"}}
    assert node_terms(terms, at(bound)) == crossed
    assert node_terms(terms, at()) == terms


def test_where_a_scheduler_inside_chose_the_node_the_host_is_told_that_node_only() -> None:
    spread = [{"maxSkew": 1, "topologyKey": "mine", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "mine", "labelSelector": {}}]}
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [SSD]}]}}
    spec = {
        "nodeSelector": {"colour": "blue"},
        "topologySpreadConstraints": spread,
        "affinity": {"podAntiAffinity": apart, "nodeAffinity": terms},
        "nodeName": "node-a",
    }

    def crossed(**settings: Any) -> tuple[dict[str, Any], list[str]]:
        here = at({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}, **settings)
        result = walk(compile_rules(PLACEMENT), {"spec": spec}, here.scope)["spec"]
        return result, [refusal.field for refusal in here.scope.refusals]

    affinity = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [HERE]}]}
        },
    }
    assert crossed(scheduler=True) == ({"affinity": affinity}, [])
    whole = crossed()[0]
    assert whole["nodeSelector"] == {"colour": "blue"} and whole["topologySpreadConstraints"][0]["maxSkew"] == 1
    spread[0]["tomorrow"] = True
    assert crossed(scheduler=True)[1] == ["spec.topologySpreadConstraints[0].tomorrow"]


def test_resources_that_only_the_virtual_node_has_stay_inside() -> None:
    node = {"status": {"capacity": {"cpu": "2", "example.com/seat": "5", "gpu.example/one": "1", "odd": "1"}}}
    own = inner_resources(node, {"status": {"capacity": {"cpu": "2", "gpu.example/one": "1"}}})
    assert own == {"example.com/seat"}
    assert inner_resources(node, None) == inner_resources(None, node) == frozenset()
    here = at()
    wanted = {"cpu": "1", "example.com/seat": "2"}
    assert amounts(wanted, here) == wanted
    here.scope.context = msgspec.structs.replace(here.scope.context, inner_resources=own)
    assert amounts(wanted, here) == {"cpu": "1"} and amounts(ABSENT, here) is ABSENT


def test_an_unknown_requirement_of_a_node_is_refused() -> None:
    here = at()
    node_terms([{"matchFuture": []}], here)
    assert [refusal.field for refusal in here.scope.refusals] == ["here[0].matchFuture"]


def test_a_scheduler_of_the_tenants_is_never_named_to_the_host() -> None:
    assert scheduler_name("default-scheduler", at()) is ABSENT
    assert scheduler_name("mine", at(scheduler=True)) is ABSENT
    with pytest.raises(Refused, match=r"scheduler\.enabled is off"):
        scheduler_name("mine", at())


@pytest.mark.parametrize(
    ("term", "values"),
    [
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, ["one", "two"]),
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}, "namespaces": ["three"]}, ["one", "three", "two"]),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}, ["three"]),
        ({"namespaceSelector": {"matchLabels": {"team": "nobody"}}}, [""]),
        ({"namespaces": ["two"]}, ["two"]),
        ({"namespaceSelector": {}}, None),
    ],
)
def test_pod_affinity_reaches_the_namespaces_it_selects(term: dict[str, Any], values: list[str] | None) -> None:
    here = at()
    namespaces = {"one": {"team": "a"}, "two": {"team": "a"}, "three": {}}
    here.scope.context = msgspec.structs.replace(here.scope.context, namespaces=namespaces)
    selector = affinity_term({"topologyKey": "z", "labelSelector": {}} | term, here)["labelSelector"]
    assert selector["matchLabels"] == {"vcluster.loft.sh/managed-by": "dev"} and not here.scope.refusals
    fence = {"key": "vcluster.loft.sh/namespace", "operator": "In", "values": values}
    assert selector.get("matchExpressions", []) == ([fence] if values else [])


def test_pod_affinity_that_cannot_be_read_is_refused() -> None:
    selector = {"matchExpressions": [{"key": "a", "operator": "Sometimes"}]}
    with pytest.raises(Refused):
        affinity_term({"topologyKey": "z", "labelSelector": {}, "namespaceSelector": selector}, at())


def test_pod_affinity_without_a_selector_matches_nothing_as_inside() -> None:
    assert affinity_term({"topologyKey": "z"}, at()) == {"topologyKey": "z"}


@pytest.mark.parametrize(
    ("policy", "host", "servers"),
    [
        ("ClusterFirst", "None", ["10.0.0.10", "192.0.2.1"]),
        ("ClusterFirstWithHostNet", "None", ["10.0.0.10", "192.0.2.1"]),
        ("None", "None", ["192.0.2.1"]),
        ("Default", "Default", ["192.0.2.1"]),
    ],
)
def test_dns_policies(policy: str, host: str, servers: list[str]) -> None:
    pod = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"dnsPolicy": policy}}
    assert dns_policy(policy, at(pod)) == host
    assert dns_config({"nameservers": ["192.0.2.1"]}, at(pod))["nameservers"] == servers


def test_the_host_name_is_the_virtual_pods() -> None:
    assert hostname(ABSENT, at()) == "web"
    assert hostname("mine", at()) == "mine"
    long = {"metadata": {"name": "a." * 40 + "b", "namespace": "default"}}
    assert len(hostname(ABSENT, at(long))) <= 63 and "." not in hostname(ABSENT, at(long))


@pytest.mark.parametrize(
    ("virtual", "host"),
    [
        ("kubernetes.io/tls", "kubernetes.io/tls"),
        ("kubernetes.io/service-account-token", "Opaque"),
        ("bootstrap.kubernetes.io/token", "Opaque"),
        ("helm.sh/release.v1", "Opaque"),
    ],
)
def test_secret_types_with_power_become_opaque(virtual: str, host: str) -> None:
    assert secret_type(virtual, at()) == host


@pytest.mark.parametrize(
    ("address", "marks", "adopted"),
    [
        ("10.0.0.5", {"vcluster.loft.sh/reservation": "x"}, True),
        ("10.0.0.5", {"vcluster.loft.sh/reservation": "x", "vcluster.loft.sh/object-namespace": "default"}, True),
        ("10.0.0.5", {"vcluster.loft.sh/reservation": "x", "vcluster.loft.sh/object-namespace": "other"}, False),
        ("10.0.0.5", {}, False),
        ("10.0.0.6", {"vcluster.loft.sh/reservation": "x"}, False),
        ("None", {"vcluster.loft.sh/reservation": "x"}, False),
    ],
)
def test_a_reservation_is_adopted_by_address(address: str, marks: dict[str, str], adopted: bool) -> None:
    virtual = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": address}}
    host = {"metadata": {"annotations": marks}, "spec": {"clusterIP": "10.0.0.5"}}
    assert is_reservation_of(virtual, host) is adopted


def test_a_volume_goes_with_its_claim_and_a_tenants_own_stays() -> None:
    volume = {
        "metadata": {"name": "pvc-1", "uid": "p1", "annotations": {"vcluster.loft.sh/host-volume": "pvc-1"}},
        "spec": {"claimRef": {"namespace": "default", "name": "data", "uid": "u1"}},
        "status": {"phase": "Bound"},
    }
    assert plan_volume(volume, {"metadata": {"uid": "u1"}}) == []
    assert len(plan_volume(volume, None)) == 2
    assert len(plan_volume(volume, {"metadata": {"uid": "u2"}})) == 2
    assert plan_volume(volume | {"metadata": {"name": "own"}}, None) == []
