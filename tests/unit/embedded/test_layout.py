"""Addresses and directories of embedded clusters."""

import ipaddress
from itertools import combinations
from pathlib import Path

import pytest

from loft.embedded.layout import BadName, Layout


def _layout(index: int = 0, name: str = "loft-cluster", network: str = "10.201.0.0/16") -> Layout:
    return Layout(name=name, index=index, state_dir=Path("/s"), cache_dir=Path("/c"), network=network)


def test_main_cluster_addresses() -> None:
    main = _layout()
    assert main.node_ip == "10.201.0.1"
    assert main.pod_cidr == "10.201.4.0/22"
    assert main.service_cidr == "10.201.8.0/22"
    assert main.kubernetes_service_ip == "10.201.8.1"
    assert main.dns_ip == "10.201.8.10"
    assert main.enter == ()


def test_ranges_of_all_clusters_are_inside_the_network_and_distinct() -> None:
    every = [_layout(index, f"c{index}", "10.99.0.0/16") for index in range(16)]
    network = ipaddress.ip_network("10.99.0.0/16")
    for one in every:
        whole = ipaddress.ip_network(one.cluster_cidr)
        pods, services = ipaddress.ip_network(one.pod_cidr), ipaddress.ip_network(one.service_cidr)
        assert whole.subnet_of(network)
        assert pods.subnet_of(whole) and services.subnet_of(whole) and not pods.overlaps(services)
        assert ipaddress.ip_address(one.dns_ip) in services
        for address in (one.node_ip, one.uplink_ip):
            assert ipaddress.ip_address(address) in whole
            assert ipaddress.ip_address(address) not in pods
            assert ipaddress.ip_address(address) not in services
    for one, other in combinations(every, 2):
        assert not ipaddress.ip_network(one.cluster_cidr).overlaps(ipaddress.ip_network(other.cluster_cidr))
        assert not {one.bridge, one.veth} & {other.bridge, other.veth}
        assert one.directory != other.directory


def test_device_names_fit_the_kernel() -> None:
    assert all(len(_layout(i, "x" * 30).veth) <= 15 for i in range(16))


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "..", "a" * 31, "a b", "1a"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(BadName):
        _layout(1, name)


@pytest.mark.parametrize(("index", "network"), [(16, "10.201.0.0/16"), (-1, "10.201.0.0/16"), (0, "10.0.0.0/8")])
def test_what_cannot_be_laid_out_is_refused(index: int, network: str) -> None:
    with pytest.raises(ValueError, match=r"index|/16"):
        _layout(index, network=network)
