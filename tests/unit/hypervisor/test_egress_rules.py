"""The virtual API server reaches its own nodes, pods, services and webhook, and nothing else."""

import pytest

from loft.hypervisor.egress_rules import Known, Refused, Target, parse_target, route

NOBODY = Known()


def way(address: str, port: int, known: Known = NOBODY) -> str:
    return route(Target(address, port), known, kubelet_port=10250, webhook_port=10251, metrics_port=10252)


@pytest.mark.parametrize(
    ("address", "port", "known", "expected"),
    [
        ("10.0.0.5", 10250, Known(is_node=True), "kubelet"),
        ("127.0.0.1", 10251, NOBODY, "webhook"),
        ("hypervisor.invalid", 10252, NOBODY, "metrics"),
        ("10.1.0.9", 8080, Known(is_pod=True), "dial"),
        ("10.96.0.9", 443, Known(is_service=True), "dial"),
    ],
)
def test_what_belongs_to_the_virtual_cluster_is_reached(address: str, port: int, known: Known, expected: str) -> None:
    assert way(address, port, known) == expected


@pytest.mark.parametrize(
    ("address", "port", "known"),
    [
        ("10.0.0.5", 22, Known(is_node=True)),
        ("10.0.0.5", 6443, Known(is_node=True, is_pod=True)),
        ("10.0.0.5", 10250, NOBODY),
        ("169.254.169.254", 80, NOBODY),
        ("169.254.169.254", 80, Known(is_pod=True)),
        ("127.0.0.1", 8080, NOBODY),
        ("127.0.0.1", 8080, Known(is_pod=True)),
        ("10.96.0.1", 443, NOBODY),
        ("::1", 10251, NOBODY),
        ("127.0.0.1", 10252, NOBODY),
        ("hypervisor.invalid", 8080, Known(is_pod=True)),
        ("0.0.0.0", 80, Known(is_pod=True)),
        ("93.184.216.34", 443, NOBODY),
    ],
)
def test_everything_else_is_refused(address: str, port: int, known: Known) -> None:
    with pytest.raises(Refused):
        way(address, port, known)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.0.0.5:10250", Target("10.0.0.5", 10250)),
        ("[fd00::1]:443", Target("fd00::1", 443)),
        ("hypervisor.invalid:10252", Target("hypervisor.invalid", 10252)),
        # An IPv4 address in IPv6 clothes must not slip past the rules for its own family.
        ("[::ffff:169.254.169.254]:80", Target("169.254.169.254", 80)),
        ("[::ffff:127.0.0.1]:80", Target("127.0.0.1", 80)),
    ],
)
def test_a_target_is_an_address_and_a_port(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "example.com:443", "localhost:80", "10.0.0.5", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.5:http", "0x7f.1:80"],
)
def test_names_and_strange_ports_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_target(text)
