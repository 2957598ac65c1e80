"""NetworkPolicy: peers stay within the virtual cluster, ranges outside of the platform's boundary."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loft.core.selector import from_label_selector
from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Refusal, Scope
from loft.hypervisor.core.names import Names, host_labels
from loft.hypervisor.kinds.networkpolicy import NETWORKPOLICY, rules_egress, selects_namespaces
from loft.hypervisor.settings import Settings

Object = dict[str, Any]
NAMES = Names("dev", "vc")
NAMESPACES = {"web": {"team": "blue"}, "db": {}}


def translated(spec: Object, blocked: tuple[str, ...] = ()) -> tuple[Object, list[Refusal]]:
    settings = Settings(name="dev", host_namespace="vc", blocked_cidrs=blocked)
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), namespaces=NAMESPACES)
    virtual = {"metadata": {"name": "a", "namespace": "web", "uid": "u"}, "spec": spec}
    body, refusals = host_body(NETWORKPOLICY, virtual, Scope(NAMES, context, virtual, "web"))
    return body["spec"], refusals


def ingress(peer: Object, blocked: tuple[str, ...] = ()) -> Object:
    spec, refusals = translated({"podSelector": {}, "ingress": [{"from": [peer]}]}, blocked)
    assert not refusals
    found: Object = spec["ingress"][0]["from"][0]
    return found


def host_pod(namespace: str, cluster: str = "dev", **labels: str) -> dict[str, str]:
    return host_labels(labels) | Names(cluster, "vc").selector(namespace)


@pytest.mark.parametrize(
    ("peer", "seen"),
    [
        ({"podSelector": {}}, {"web/front", "web/back"}),
        ({"podSelector": {"matchLabels": {"app": "front"}}}, {"web/front"}),
        ({"namespaceSelector": {}}, {"web/front", "web/back", "db/front"}),
        ({"namespaceSelector": {"matchLabels": {"team": "blue"}}}, {"web/front", "web/back"}),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "front"}}}, {"web/front", "db/front"}),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}, {"db/front"}),
        ({"namespaceSelector": {"matchLabels": {"team": "green"}}}, set()),
    ],
)
def test_peers_mean_the_same_pods_and_no_others(peer: Object, seen: set[str]) -> None:
    pods = {
        "web/front": host_pod("web", app="front"),
        "web/back": host_pod("web", app="back"),
        "db/front": host_pod("db", app="front"),
        "another virtual cluster's": host_pod("web", "other", app="front"),
        "the host's own": {"app": "front", "team": "blue"},
    }
    selector = from_label_selector(ingress(peer)["podSelector"])
    assert {name for name, labels in pods.items() if selector.matches(labels)} == seen


def test_a_policy_without_a_selector_is_for_its_namespace_only() -> None:
    spec, _ = translated({"policyTypes": ["Ingress"]})
    assert spec["podSelector"] == {"matchLabels": NAMES.selector("web")}


@pytest.mark.parametrize("rule", [{}, {"from": []}, {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])
@given(address=st.ip_addresses(v=4))
def test_no_rule_opens_what_the_platform_blocks(rule: Object, address: ipaddress.IPv4Address) -> None:
    blocked = ("10.0.0.0/8", "192.168.0.0/16")
    spec, refusals = translated({"ingress": [rule]}, blocked)
    assert not refusals
    blocks = [peer["ipBlock"] for peer in spec["ingress"][0]["from"] if "ipBlock" in peer]
    is_open = any(
        address in ipaddress.ip_network(block["cidr"])
        and not any(address in ipaddress.ip_network(item) for item in block.get("except", ()))
        for block in blocks
    )
    assert is_open != any(address in ipaddress.ip_network(item) for item in blocked)


def test_a_range_within_the_boundary_is_refused_by_name() -> None:
    _, refusals = translated({"egress": [{"to": [{"ipBlock": {"cidr": "10.96.0.1/32"}}]}]}, ("10.0.0.0/8",))
    assert [refusal.field for refusal in refusals] == ["spec.egress[0].to[0].ipBlock.cidr"]


@pytest.mark.parametrize(
    ("spec", "rules"),
    [
        ({"podSelector": {}, "policyTypes": ["Egress"]}, True),
        ({"podSelector": {}, "policyTypes": ["Ingress"]}, False),
        ({"podSelector": {}, "egress": [{}]}, True),
        ({"policyTypes": ["Ingress", "Egress"]}, True),
        ({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"]}, True),
        ({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]}, False),
    ],
)
def test_whose_egress_a_policy_rules(spec: Object, rules: bool) -> None:
    assert rules_egress({"spec": spec}, {"metadata": {"labels": {"app": "web"}}}) == rules


def test_everybody_within_a_boundary_includes_the_api_server() -> None:
    settings = Settings(name="dev", host_namespace="vc", blocked_cidrs=("10.0.0.0/8",), control_plane={"app": "dev"})
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC))
    virtual = {"metadata": {"name": "a", "namespace": "web", "uid": "u"}, "spec": {"egress": [{}]}}
    body, _ = host_body(NETWORKPOLICY, virtual, Scope(NAMES, context, virtual, "web"))
    peers = body["spec"]["egress"][0]["to"]
    assert {"podSelector": {"matchLabels": {"app": "dev"}}} in peers


def test_only_policies_with_a_namespace_selector_depend_on_namespaces() -> None:
    def policy(peer: Object) -> Object:
        return {"spec": {"egress": [{"to": [peer]}]}}

    assert selects_namespaces(policy({"namespaceSelector": {"matchLabels": {"a": "b"}}}))
    assert not selects_namespaces(policy({"namespaceSelector": {}})), "all namespaces: no list is needed"
    assert not selects_namespaces(policy({"podSelector": {}}))
