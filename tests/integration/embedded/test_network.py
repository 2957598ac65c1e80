"""The network of the main cluster made, made again and removed, in a network namespace that stands for a machine."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

# /sys shows the devices of the namespace in which it was mounted; /run holds what network.py notes down.
MACHINE = (
    "unshare",
    "--net",
    "--mount",
    "sh",
    "-c",
    'mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && exec "$@"',
)

SCENE = """
import json, subprocess, sys
from pathlib import Path
from loft.embedded import network, preflight
from loft.embedded.layout import Layout

def out(*words):
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout

def seen():
    return {
        "devices": network.devices(),
        "tables": sorted(out("nft", "list", "tables").split("\\n")),
        "routes": sorted(line.strip() for line in out("ip", "-4", "route").split("\\n") if line),
        "accepts": out("iptables", "-S").count("--comment loft"),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text().strip(),
        "overlapping": preflight.overlapping(out("ip", "-4", "-o", "route", "show", "table", "all"), "10.201.0.0/16"),
    }

state = Path(sys.argv[1])
main = Layout(name="loft-cluster", index=0, state_dir=state, cache_dir=state)
other = Layout(name="loft-cluster", index=0, state_dir=state / "other", cache_dir=state)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
found = [seen()]
network.apply(main)
found.append(seen())
network.apply(main)
found.append(seen())
network.remove(other)
found.append(seen())
reach = {}
for address in ("10.201.4.9", "10.201.40.1", "10.201.0.1"):
    reach[address] = out("ip", "-4", "route", "get", address).split(" ")[0:1]
network.remove(main)
found.append(seen())
print(json.dumps({"seen": found, "reach": reach}))
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    command = [*MACHINE, "sh", sys.executable, "-c", SCENE, str(state)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_cluster_gets_its_device_routes_and_guard(story):
    made = story["seen"][1]
    assert made["devices"] == ["loft0"]
    assert "table inet loft-guard" in made["tables"]
    assert "10.201.0.0/20 dev loft0 scope link" in made["routes"]
    assert made["accepts"] == 3
    assert made["forwarding"] == "1"


def test_making_it_again_changes_nothing(story):
    assert story["seen"][2] == story["seen"][1]


def test_our_own_routes_do_not_keep_us_from_starting(story):
    assert story["seen"][1]["overlapping"] == []


def test_what_is_not_there_is_unreachable_instead_of_sent_out(story):
    assert story["reach"]["10.201.0.1"] == ["local"]
    assert story["reach"]["10.201.4.9"] == [""]
    assert story["reach"]["10.201.40.1"] == [""]


def test_another_state_directory_does_not_remove_it(story):
    assert story["seen"][3] == story["seen"][1]


def test_removed_it_leaves_the_machine_as_it_was(story):
    before, after = story["seen"][0], story["seen"][-1]
    # iptables made its empty base tables; they say nothing.
    assert "table inet loft-guard" not in after.pop("tables")
    before.pop("tables")
    assert after == before
