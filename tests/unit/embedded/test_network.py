"""Commands and rules of a cluster's network; that they work is shown by tests/integration."""

from pathlib import Path

import pytest

from loft.embedded import network
from loft.embedded.layout import Layout


def layout(name, index):
    return Layout(name=name, index=index, state_dir=Path("/state"), cache_dir=Path("/cache"))


def test_the_main_cluster_lives_in_the_machines_own_namespace():
    commands = network.up_commands(layout("loft-cluster", 0))
    assert not any("nsenter" in command for command in commands)
    assert ["ip", "route", "replace", "10.201.0.0/20", "dev", "loft0"] in commands


def test_a_named_cluster_is_reached_over_its_veth_pair():
    commands = network.up_commands(layout("east", 1))
    assert ["ip", "netns", "add", "loft-east"] in commands
    assert ["ip", "route", "replace", "10.201.16.0/20", "via", "10.201.16.1", "dev", "loft1up", "onlink"] in commands


@pytest.mark.parametrize("index", [0, 3])
def test_the_guard_drops_both_directions_for_the_whole_range_and_only_it(index):
    one = layout("loft-cluster" if index == 0 else "c", index)
    rules = network.guard_ruleset(one)
    for side in ("saddr", "daddr"):
        assert rules.count(f"ip {side} {one.cluster_cidr} drop") == 2
    assert "policy drop" not in rules
    assert rules.startswith(f"table inet loft-guard-{index} {{}}\ndelete table inet loft-guard-{index}\n")


def test_what_is_made_is_removed():
    assert ["ip", "netns", "delete", "loft-east"] in network.down_commands(layout("east", 1))
    assert ["ip", "link", "delete", "loft0"] in network.down_commands(layout("loft-cluster", 0))
