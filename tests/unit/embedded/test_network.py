"""Commands and rules of a cluster's network; that they work is shown by tests/integration/embedded."""

from pathlib import Path

import pytest

from loft.embedded import guard, network, portmapping
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


def test_a_named_cluster_has_no_way_out():
    inside = [command for command in network.up_commands(layout("east", 1)) if command[0] == "nsenter"]
    assert inside
    assert not [command for command in inside if "default" in command]


@pytest.mark.parametrize("index", [0, 3])
def test_no_packet_of_any_cluster_falls_through_to_the_default_route(index):
    commands = network.up_commands(layout("loft-cluster" if index == 0 else "c", index))
    assert ["ip", "route", "replace", "unreachable", "10.201.0.0/16"] in commands


def test_what_is_made_is_removed():
    assert ["ip", "netns", "delete", "loft-east"] in network.down_commands(layout("east", 1))
    assert ["ip", "link", "delete", "loft0"] in network.down_commands(layout("loft-cluster", 0))


def test_the_guard_keeps_a_machine_from_becoming_a_router_only_when_it_was_none():
    assert 'iifname { "eth0", "eth1" } oifname { "eth0", "eth1" } drop' in guard.ruleset(
        "10.0.0.0/16", ["eth0", "eth1"]
    )
    assert "oifname { " in guard.ruleset("10.0.0.0/16")
    assert "iifname {" not in guard.ruleset("10.0.0.0/16")


MAPPING = (
    '-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"{name}\\" id: \\"{id}\\"" '
    "-m multiport --dports {port} -j CNI-DN-{id}\n"
    "-A CNI-DN-{id} -d 127.0.0.1/32 -p tcp -m tcp --dport {port} -j DNAT --to-destination 10.201.4.5:80\n"
)


def saved(*mappings):
    chains = "".join(f":CNI-DN-{item[1]} - [0:0]\n" for item in mappings)
    own = "".join(f":{name} - [0:0]\n" for name in portmapping.CHAINS)
    jumps = (
        "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n"
        "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n"
        '-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ\n'
    )
    rules = "".join(MAPPING.format(name=name, id=identity, port=port) for name, identity, port in mappings)
    return f"*nat\n:PREROUTING ACCEPT [0:0]\n{own}{chains}{jumps}{rules}COMMIT\n"


def test_only_the_mappings_of_our_network_go():
    commands = portmapping.stale(saved(("loft-cluster", "aa", 80), ("other", "bb", 81)), "loft-cluster")
    text = [" ".join(command) for command in commands]
    assert text[1:] == ["-F CNI-DN-aa", "-X CNI-DN-aa"]
    assert text[0].startswith("-D CNI-HOSTPORT-DNAT ")
    assert text[0].endswith("--dports 80 -j CNI-DN-aa")


def test_a_name_that_begins_like_ours_is_not_ours():
    assert portmapping.stale(saved(("loft-cluster-2", "aa", 80)), "loft-cluster") == []


def test_with_the_last_mapping_the_chains_of_the_plugin_go_too():
    text = [" ".join(command) for command in portmapping.stale(saved(("east", "aa", 80)), "east")]
    assert "-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT" in text
    assert {f"-X {name}" for name in portmapping.CHAINS} <= set(text)


def test_a_table_without_mappings_needs_nothing():
    assert portmapping.stale("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n", "east") == []
