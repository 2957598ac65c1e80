"""Real packets between network namespaces, let through or not by the rules made from NetworkPolicies."""

import pytest

pytestmark = pytest.mark.integration

CLIENTS = ("db", "job", "spy", "near", "hole")


def policy(name="p", namespace="shop", selector=None, **spec):
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}} if selector is None else selector} | spec,
    }


def block(cidr, *holes):
    return {"ipBlock": {"cidr": cidr, "except": list(holes)} if holes else {"cidr": cidr}}


def app(name):
    return {"podSelector": {"matchLabels": {"app": name}}}


def team(name):
    return {"namespaceSelector": {"matchLabels": {"team": name}}}


WEB_FROM = [
    # what the policy says, its ingress rules, port, protocol, who gets through to web
    ("nothing allowed", [], 80, "tcp", set()),
    ("nothing allowed, datagrams", [], 80, "udp", set()),
    ("an empty rule allows everybody", [{}], 80, "tcp", set(CLIENTS)),
    ("pods of the own namespace only", [{"from": [{"podSelector": {}}]}], 80, "tcp", {"db", "job"}),
    ("one pod by label", [{"from": [app("db")]}], 80, "tcp", {"db"}),
    ("a namespace by label", [{"from": [team("b")]}], 80, "tcp", {"spy"}),
    ("namespace and pod in one peer: both must fit", [{"from": [team("b") | app("db")]}], 80, "tcp", set()),
    ("namespace and pod in two peers: either", [{"from": [team("b"), app("db")]}], 80, "tcp", {"spy", "db"}),
    ("all namespaces, pods by label", [{"from": [{"namespaceSelector": {}} | app("web")]}], 80, "tcp", {"spy"}),
    ("a block", [{"from": [block("192.0.2.0/24")]}], 80, "tcp", {"near", "hole"}),
    ("a block with holes", [{"from": [block("192.0.2.0/24", "192.0.2.128/25")]}], 80, "tcp", {"near"}),
    (
        "holes that overlap",
        [{"from": [block("192.0.2.0/24", "192.0.2.128/25", "192.0.2.128/26")]}],
        80,
        "tcp",
        {"near"},
    ),
    ("everywhere", [{"from": [block("0.0.0.0/0")]}], 80, "tcp", set(CLIENTS)),
    ("everywhere but pods", [{"from": [block("0.0.0.0/0", "10.0.0.0/8")]}], 80, "tcp", {"near", "hole"}),
    ("one address", [{"from": [block("192.0.2.10/32")]}], 80, "tcp", {"near"}),
    ("another port", [{"ports": [{"port": 81}]}], 80, "tcp", set()),
    ("this port", [{"ports": [{"port": 80}]}], 80, "tcp", set(CLIENTS)),
    ("this port of the other protocol", [{"ports": [{"port": 80}]}], 80, "udp", set()),
    ("datagrams", [{"ports": [{"port": 80, "protocol": "UDP"}]}], 80, "udp", set(CLIENTS)),
    ("a range of ports", [{"ports": [{"port": 80, "endPort": 85}]}], 81, "tcp", set(CLIENTS)),
    ("outside of a range", [{"ports": [{"port": 80, "endPort": 85}]}], 90, "tcp", set()),
    ("all ports of a protocol", [{"ports": [{"protocol": "TCP"}]}], 90, "tcp", set(CLIENTS)),
    ("a port by name", [{"ports": [{"port": "http"}]}], 8080, "tcp", set(CLIENTS)),
    ("not the named port", [{"ports": [{"port": "http"}]}], 80, "tcp", set()),
    ("a name no pod has", [{"ports": [{"port": "nope"}]}], 8080, "tcp", set()),
    ("peer and port together", [{"from": [app("db")], "ports": [{"port": 80}]}], 81, "tcp", set()),
    (
        "two rules add up",
        [{"from": [app("db")]}, {"ports": [{"port": 80}], "from": [team("b")]}],
        80,
        "tcp",
        {"db", "spy"},
    ),
    ("SCTP only", [{"ports": [{"port": 80, "protocol": "SCTP"}]}], 80, "tcp", set()),
]


@pytest.mark.parametrize(
    ("ingress", "port", "protocol", "allowed"), [row[1:] for row in WEB_FROM], ids=[row[0] for row in WEB_FROM]
)
def test_who_reaches_an_isolated_pod(node, ingress, port, protocol, allowed):
    node.enforce([policy(ingress=ingress)])
    assert node.reaching(CLIENTS, "web", port, protocol) == allowed


def test_pods_that_no_policy_selects_stay_open(node):
    node.enforce([policy()])
    assert node.try_("spy", "db", 80)
    assert node.try_("web", "db", 80), "an ingress policy does not close the way out"


def test_the_node_reaches_every_pod_and_a_pod_itself(node):
    node.enforce([policy(selector={}, policyTypes=["Ingress", "Egress"])])
    assert node.try_("node", "web", 80), "the kubelet's probes"
    assert node.try_("web", "service", 80), "its own Service leads back to it"


def test_a_service_is_judged_by_the_pods_behind_it(node):
    node.enforce([policy(ingress=[{"from": [app("db")]}])])
    assert node.reaching(CLIENTS, "service", 80) == {"db"}
    node.enforce(
        [policy(selector={"matchLabels": {"app": "job"}}, policyTypes=["Egress"], egress=[{"to": [app("web")]}])]
    )
    assert node.reached("job", ("service", "db"), 80) == {"service"}


TARGETS = ("db", "spy", "near", "hole", "node")
WEB_TO = [
    ("nothing allowed", [], 80, set()),
    ("an empty rule allows all", [{}], 80, set(TARGETS)),
    ("one pod", [{"to": [app("db")]}], 80, {"db"}),
    ("a namespace", [{"to": [team("b")]}], 80, {"spy"}),
    ("a block with a hole", [{"to": [block("192.0.2.0/24", "192.0.2.128/25")]}], 80, {"near"}),
    ("the node by its address", [{"to": [block("10.201.0.1/32")]}], 80, {"node"}),
    ("a port", [{"ports": [{"port": 81}]}], 80, set()),
    ("a port by the targets' name", [{"to": [app("db")], "ports": [{"port": "http"}]}], 8080, {"db"}),
    ("a port by name, to anywhere", [{"ports": [{"port": "http"}]}], 8080, {"db", "spy"}),
]


@pytest.mark.parametrize(("egress", "port", "allowed"), [row[1:] for row in WEB_TO], ids=[row[0] for row in WEB_TO])
def test_where_an_isolated_pod_gets(node, egress, port, allowed):
    node.enforce([policy(policyTypes=["Egress"], egress=egress)])
    assert node.reached("web", TARGETS, port) == allowed
    assert node.try_("db", "web", 80), "an egress policy does not close the way in"


def test_both_ends_must_agree(node):
    closed_out = policy("out", selector={"matchLabels": {"app": "db"}}, policyTypes=["Egress"])
    node.enforce([policy(ingress=[{"from": [app("db")]}]), closed_out])
    assert not node.try_("db", "web", 80)
    node.enforce([policy(ingress=[{"from": [app("db")]}])])
    assert node.try_("db", "web", 80)


def test_policies_of_one_pod_add_up(node):
    node.enforce([policy("a", ingress=[{"from": [app("db")]}]), policy("b", ingress=[{"from": [team("b")]}])])
    assert node.reaching(CLIENTS, "web", 80) == {"db", "spy"}


def test_the_last_policy_gone_opens_again(node):
    node.enforce([policy()])
    assert not node.try_("db", "web", 80)
    node.enforce([])
    assert node.try_("db", "web", 80)


def test_a_connection_that_was_allowed_goes_on(node):
    node.enforce([])
    assert node.agents["db"].ask("keep", node.addresses["web"], 80)
    node.enforce([policy()])
    assert node.agents["db"].ask("talk") == "still here"
    assert not node.try_("db", "web", 80), "a new one is refused"


def test_a_policy_that_cannot_be_read_closes_and_the_others_stay_in_force(node):
    broken = policy("broken", ingress=[{"from": [block("192.0.2.0/99")]}])
    strange = policy("strange", namespace="other", selector={"matchExpressions": [{"key": "a", "operator": "Like"}]})
    node.enforce([broken, strange, policy("good", ingress=[{"from": [app("db")]}])])
    assert node.reaching(CLIENTS, "web", 80) == {"db"}
    assert not node.try_("db", "spy", 80), "everything in the namespace of an unreadable selector is isolated"


@pytest.mark.parametrize("lie", ["10.201.4.3", "192.0.2.10"], ids=["another pod's address", "an address outside"])
def test_a_pod_cannot_speak_in_the_name_of_another(node, lie):
    node.enforce([policy(ingress=[{"from": [app("db"), block("192.0.2.0/24")]}])])
    node.borrow("spy", lie)
    try:
        web = node.agents["web"]
        web.start("heard", 9999)
        assert web.answer() == "listening"
        assert node.agents["spy"].ask("send", node.addresses["web"], 9999, lie) == "sent"
        assert web.answer() == ""
    finally:
        node.give_back("spy", lie)


def test_a_finished_pod_gives_its_address_free(node):
    pods = [
        {
            "metadata": {"name": "old", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {},
            "status": {"podIP": node.addresses["spy"], "phase": "Succeeded"},
        },
        {
            "metadata": {"name": "spy", "namespace": "other"},
            "spec": {},
            "status": {"podIP": node.addresses["spy"], "phase": "Running"},
        },
    ]
    node.enforce([policy()], pods)
    assert node.try_("db", "spy", 80)
