"""Decisions about a control plane's life: its replicas, versions, kubeconfigs, problems."""

import pytest

from loft.hypervisor import problems, versions
from loft.hypervisor.config import Config, Export
from loft.hypervisor.exports import balancer_addresses, contents, outside_server, targets
from loft.hypervisor.replicas import serving
from loft.kube.config import parse_kubeconfig
from loft.pki.authority import issue, new_authority
from unit.hypervisor.test_certificates import NOW


def slice_of(*endpoints):
    return {"endpoints": [{"addresses": [address], "conditions": ready} for address, ready in endpoints]}


def test_replicas_that_are_not_ready_do_not_count_and_unknown_ones_do():
    found = serving(
        [
            slice_of(("10.0.0.3", {"ready": True}), ("10.0.0.1", {"ready": False})),
            slice_of(("10.0.0.2", {}), ("10.0.0.3", None)),
            {"endpoints": None},
        ]
    )
    assert found == ["10.0.0.2", "10.0.0.3"]


@pytest.mark.parametrize(
    ("served", "wanted", "replicas", "why"),
    [
        ("", "v1.35.4", 1, ""),
        ("v1.36.3", "v1.36.3", 1, ""),
        ("v1.36.3", "v1.36.1", 1, ""),
        ("v1.35.4", "v1.36.3", 1, ""),
        ("v1.36.3", "v1.35.4", 1, "cannot read the store that v1.36.3 has written"),
        ("v1.36.3", "v1.35.4", 3, ""),
        ("v1.37.0", "v1.35.4", 3, "cannot read"),
        ("v1.34.1", "v1.36.3", 1, "cannot be skipped from v1.34.1 to v1.36.3; set kubernetes.version to v1.35"),
    ],
)
def test_which_version_may_serve_a_store(served, wanted, replicas, why):
    found = versions.refusal(served, wanted, replicas)
    assert why in found
    assert bool(found) == bool(why)


def test_the_newest_version_counts_by_number():
    assert versions.newest("", "v1.9.3") == "v1.9.3"
    assert versions.newest("v1.9.3", "v1.10.0") == "v1.10.0"
    assert versions.newest("v1.36.3", "v1.35.4") == "v1.36.3"


def config(**more):
    return Config(name="dev", namespace="team", service_cidr="10.96.0.0/16", **more)


def test_the_kubeconfig_of_the_namespace_names_the_service():
    assert [(item.name, item.server, item.context) for item in targets(config(), ())] == [
        ("vc-dev", "https://dev.team.svc:443", "dev")
    ]


@pytest.mark.parametrize(
    ("more", "addresses", "server"),
    [
        ({}, (), "https://dev.team.svc:443"),
        ({"load_balancer": True}, ("192.0.2.1",), "https://192.0.2.1:443"),
        ({"load_balancer": True}, ("2001:db8::1",), "https://[2001:db8::1]:443"),
        ({"ingress_host": "dev.example.com"}, ("192.0.2.1",), "https://dev.example.com:443"),
        ({"export_server": "https://else:8443", "ingress_host": "dev.example.com"}, (), "https://else:8443"),
    ],
)
def test_a_further_kubeconfig_names_the_way_from_outside(more, addresses, server):
    other = config(exports=(Export(name="out", namespace="ops"),), **more)
    own, found = targets(other, addresses)
    assert (found.namespace, found.name, found.server, found.context) == ("ops", "out", server, "dev")
    assert own.server == more.get("export_server", "https://dev.team.svc:443")


def test_what_an_export_says_itself_wins():
    export = Export(name="out", server="https://own", context="mine")
    found = targets(config(exports=(export,), export_server="https://else", export_context="c"), ())[1]
    assert (found.namespace, found.server, found.context) == ("team", "https://own", "mine")


def test_the_contents_are_a_kubeconfig_and_its_parts():
    authority = new_authority("ca", NOW)
    pair = issue(authority, common_name="admin", usage="client", now=NOW)
    data = contents(targets(config(), ())[0], authority.cert, pair)
    endpoint = parse_kubeconfig(data["config"], inline_only=True)
    assert (endpoint.server, endpoint.ca_data, endpoint.client_cert) == (
        "https://dev.team.svc:443",
        authority.cert,
        pair.cert,
    )
    assert data["client-key"] == pair.key


def test_addresses_of_a_load_balancer():
    service = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}, {"ip": ""}]}}}
    assert balancer_addresses(service) == ("192.0.2.1", "lb.example")
    assert balancer_addresses({}) == ()
    assert balancer_addresses({"status": {"loadBalancer": {}}}) == ()
    assert outside_server(config(), ()) == ""


HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"


def test_a_full_store_is_told_from_one_that_is_only_not_well():
    assert problems.problem_of(HEAD + b'{"health":"true","reason":""}') == ""
    assert problems.problem_of(HEAD + b'{"health":"false","reason":"RAFT NO LEADER"}') == ""
    assert problems.problem_of(HEAD + b'{"health":"false","reason":"ALARM NOSPACE"}').startswith("StoreFull: ")
    with pytest.raises(ValueError, match="not etcd's health"):
        problems.problem_of(b"")
