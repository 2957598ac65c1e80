"""Stale hostPort rules are removed by the real iptables, in a network namespace of its own."""

import os
import subprocess

import pytest

from loft.embedded import portmapping

pytestmark = pytest.mark.integration

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-DN-aa - [0:0]
:CNI-DN-bb - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-DN-aa -s 10.201.4.0/22 -d 127.0.0.1/32 -p tcp -m tcp --dport 9797 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-aa -d 127.0.0.1/32 -p tcp -m tcp --dport 9797 -j DNAT --to-destination 10.201.4.5:8080
-A CNI-DN-bb -p tcp -m tcp --dport 9798 -j DNAT --to-destination 10.201.4.6:8080
{east}
{other}
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
COMMIT
"""

JUMP = (
    '-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"{name}\\" id: \\"11\\"" '
    "-m multiport --dports {port} -j {chain}"
)


@pytest.fixture
def namespace():
    name = f"loft-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield ["nsenter", f"--net=/run/netns/{name}", "--"]
    subprocess.run(["ip", "netns", "delete", name], check=True)


def clean(namespace, other):
    def saved():
        words = [*namespace, "iptables-save", "-t", "nat"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    east = JUMP.format(name="east", port=9797, chain="CNI-DN-aa")
    text = SAVED.format(east=east, other=JUMP.format(name=other, port=9798, chain="CNI-DN-bb"))
    subprocess.run([*namespace, "iptables-restore"], input=text, text=True, check=True)
    for command in portmapping.stale(saved(), "east"):
        subprocess.run([*namespace, "iptables", "-w", "-t", "nat", *command], check=True)
    return saved()


def test_with_the_last_mapping_nothing_of_the_plugin_is_left(namespace):
    assert "CNI" not in clean(namespace, "east")


def test_mappings_of_another_network_go_on_working(namespace):
    left = clean(namespace, "west")
    assert "CNI-DN-aa" not in left
    assert "-A CNI-HOSTPORT-DNAT" in left and "--to-destination 10.201.4.6:8080" in left
    assert "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT" in left
