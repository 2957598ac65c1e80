"""From policies to nftables rules, case by case; tests/integration sends packets."""

import pytest

from loft.embedded.addons.policyrules import ruleset, slim_pod


def pod(name, address, namespace="a", labels=None, **spec):
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {"app": name}},
        "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]} | spec,
        "status": {"podIP": address, "phase": "Running"},
    }


PODS = [pod("one", "10.0.0.1"), pod("two", "10.0.0.2"), pod("far", "10.0.0.9", "b")]
NAMESPACES = [{"metadata": {"name": name, "labels": {"name": name}}} for name in ("a", "b")]


def policy(**spec):
    return {
        "metadata": {"name": "p", "namespace": "a"},
        "spec": {"podSelector": {"matchLabels": {"app": "one"}}} | spec,
    }


def rules(*policies, pods=PODS):
    return ruleset("t", policies, pods, NAMESPACES, network="10.0.0.0/16")


def chain(text, start):
    """Return the rules of the first chain whose name begins so, without the final drop of pod chains."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip().startswith(f"chain {start}"):
            body = []
            for inner in lines:
                if inner.strip() == "}":
                    return body
                body.append(inner.strip())
    return None


def test_without_policies_nothing_is_dropped():
    assert "vmap" not in rules(), "no address leads to a chain"


def test_a_selected_pod_is_closed_in_that_direction_only():
    text = rules(policy())
    assert chain(text, "ingress-10-0-0-1")[-1] == "drop"
    assert chain(text, "egress-10-0-0-1") is None
    assert chain(text, "ingress-10-0-0-2") is None


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, {"ingress"}),
        ({"egress": []}, {"ingress", "egress"}),
        ({"policyTypes": ["Egress"]}, {"egress"}),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, {"ingress"}),
    ],
)
def test_policy_types_follow_the_documentation(spec, directions):
    text = rules(policy(**spec))
    found = {name for name in ("ingress", "egress") if chain(text, f"{name}-10-0-0-1")}
    assert found == directions


@pytest.mark.parametrize(
    ("ingress", "expected"),
    [
        ([{}], ["accept"]),
        ([{"from": [{"podSelector": {"matchLabels": {"app": "two"}}}]}], ["ip saddr { 10.0.0.2 } accept"]),
        (
            [{"from": [{"namespaceSelector": {"matchLabels": {"name": "b"}}}]}],
            ["ip saddr { 10.0.0.9 } accept"],
        ),
        (
            [
                {
                    "from": [
                        {
                            "namespaceSelector": {"matchLabels": {"name": "b"}},
                            "podSelector": {"matchLabels": {"app": "x"}},
                        }
                    ]
                }
            ],
            [],
        ),
        (
            [{"from": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24"]}}]}],
            ["ip saddr 10.1.0.0/16 ip saddr != { 10.1.2.0/24 } accept"],
        ),
        ([{"ports": [{"port": 80}]}], ["tcp dport 80 accept"]),
        ([{"ports": [{"port": 80, "endPort": 90, "protocol": "UDP"}]}], ["udp dport 80-90 accept"]),
        ([{"ports": [{"port": "web"}]}], ["ip daddr { 10.0.0.1 } tcp dport 8080 accept"]),
        ([{"ports": [{"port": "unknown"}]}], []),
        ([{"ports": [{"protocol": "SCTP"}]}], ["meta l4proto sctp accept"]),
        (
            [{"from": [{"podSelector": {}}], "ports": [{"port": 1}, {"port": 2}]}],
            [
                "ip saddr { 10.0.0.1, 10.0.0.2 } tcp dport 1 accept",
                "ip saddr { 10.0.0.1, 10.0.0.2 } tcp dport 2 accept",
            ],
        ),
    ],
)
def test_ingress_rules(ingress, expected):
    text = rules(policy(ingress=ingress))
    (name,) = [line.removeprefix("jump ") for line in chain(text, "ingress-10-0-0-1") if line.startswith("jump")]
    assert chain(text, name) == expected


def test_policies_add_up():
    other = policy() | {"metadata": {"name": "q", "namespace": "a"}}
    assert len([line for line in chain(rules(policy(), other), "ingress-10-0-0-1") if line.startswith("jump")]) == 2


@pytest.mark.parametrize(
    "absent",
    [
        pod("one", ""),
        pod("one", "10.0.0.1", hostNetwork=True),
        {**pod("one", "10.0.0.1"), "status": {"podIP": "10.0.0.1", "phase": "Succeeded"}},
    ],
    ids=["no address", "host network", "finished"],
)
def test_pods_without_a_network_of_their_own_take_no_part(absent):
    assert "10-0-0-1" not in rules(policy(), pods=[absent])


def test_answers_always_pass_and_egress_is_asked_before_ingress():
    text = rules(policy(policyTypes=["Ingress", "Egress"]))
    for direction, priority in (("egress", -2), ("ingress", -1)):
        body = chain(text, f"forward-{direction}")
        assert body[0] == f"type filter hook forward priority {priority}; policy accept;"
        assert body[1] == "ct state established,related accept"


def test_the_same_world_gives_the_same_text():
    assert rules(policy(), pods=PODS) == rules(policy(), pods=list(reversed(PODS)))


def test_a_pod_always_reaches_itself():
    text = rules(policy(policyTypes=["Ingress", "Egress"]))
    assert chain(text, "ingress-10-0-0-1")[0] == "ip saddr 10.0.0.1 accept"
    assert chain(text, "egress-10-0-0-1")[0] == "ip daddr 10.0.0.1 accept"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"cidr": "10.1.2.3/8"}, ["ip saddr 10.0.0.0/8 accept"]),
        ({"cidr": "010.001.0.0/16"}, ["ip saddr 10.1.0.0/16 accept"]),
        ({"cidr": "::ffff:10.1.0.0/112"}, ["ip saddr 10.1.0.0/16 accept"]),
        (
            {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]},
            ["ip6 saddr 2001:db8::/32 ip6 saddr != { 2001:db8:1::/48 } accept"],
        ),
        (
            {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24", "10.1.2.128/25", "10.1.3.0/24"]},
            ["ip saddr 10.1.0.0/16 ip saddr != { 10.1.2.0/23 } accept"],
        ),
        ({"cidr": "10.1.0.0/16", "except": ["2001:db8::/32"]}, ["ip saddr 10.1.0.0/16 accept"]),
        ({"cidr": "10.1.0.0/40"}, []),
        ({"cidr": "10.1.0.0/16 accept; drop"}, []),
        ({"cidr": "10.1.0.0/16", "except": ["}"]}, []),
    ],
)
def test_blocks_are_read_as_the_api_server_does_and_never_copied(block, expected):
    text = rules(policy(ingress=[{"from": [{"ipBlock": block}]}]))
    (name,) = [line.removeprefix("jump ") for line in chain(text, "ingress-10-0-0-1") if line.startswith("jump")]
    assert chain(text, name) == expected


BAD_SELECTOR = {"matchExpressions": [{"key": "app", "operator": "Like", "values": ["x"]}]}


def test_a_selector_that_cannot_be_read_isolates_the_namespace():
    text = rules(policy(podSelector=BAD_SELECTOR, ingress=[{}]))
    assert chain(text, "ingress-10-0-0-1") is not None
    assert chain(text, "ingress-10-0-0-2") is not None
    assert chain(text, "ingress-10-0-0-9") is None


@pytest.mark.parametrize("peer", [{"podSelector": BAD_SELECTOR}, {"namespaceSelector": BAD_SELECTOR}, {}])
def test_a_peer_that_cannot_be_read_allows_nobody(peer):
    text = rules(policy(ingress=[{"from": [peer]}]))
    (name,) = [line.removeprefix("jump ") for line in chain(text, "ingress-10-0-0-1") if line.startswith("jump")]
    assert chain(text, name) == []


@pytest.mark.parametrize("address", ["10.0.0.300", "1.2.3.4; drop", "fe80::1"])
def test_an_address_that_is_none_takes_no_part(address):
    assert address not in rules(policy(), pods=[pod("one", address)])


def test_a_cached_pod_gives_the_same_rules_as_the_whole_one():
    sidecar = {"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9000}]}
    setup = {"ports": [{"name": "setup", "containerPort": 9001}]}
    whole = pod("one", "10.0.0.1", initContainers=[sidecar, setup])
    named = policy(ingress=[{"ports": [{"port": name} for name in ("web", "side", "setup")]}])
    assert rules(named, pods=[slim_pod(whole)]) == rules(named, pods=[whole])
    text = rules(named, pods=[whole])
    assert "tcp dport 9000" in text
    assert "tcp dport 9001" not in text, "an init container that ends serves nobody"
