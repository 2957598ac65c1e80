"""What a machine must have, as a table of facts and the line that each gets."""

import socket

import pytest

from loft.embedded.machine import occupied
from loft.embedded.preflight import (
    DISK_BYTES_MIN,
    MEMORY_BYTES_MIN,
    Facts,
    Listener,
    findings,
    listeners,
    overlapping,
)

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100C90A:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1
   1: 00000000:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1
   2: 0100007F:192B 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 103 1
   3: 0100007F:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 104 1
   4: 0100C90A:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 105 1
"""

TABLE6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000000000000:280A 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 201 1
   1: 0000000000000000FFFF00000100007F:26AA 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 202 1
   2: 00000000000000000000000001000000:26AA 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 203 1
   3: B80D0120000000000000000001000000:26AA 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 204 1
"""

ROUTES = """\
default via 192.0.2.1 dev eth0
10.201.0.0/20 dev loft0 scope link
unreachable 10.201.0.0/16
unreachable 10.201.4.0/22
10.201.4.2 dev veth23c81333 scope host
10.201.16.0/20 via 10.201.16.1 dev loft1up onlink
192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2
local 10.201.0.1 dev loft0 table local proto kernel scope host src 10.201.0.1
local 10.201.4.1 dev veth23c81333 table local proto kernel scope host src 10.201.4.1
local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1
broadcast 127.255.255.255 dev lo table local proto kernel scope link src 127.0.0.1
"""


def facts(**more):
    return Facts(is_root=True, state_dir="/var/lib/loft", network="10.201.0.0/16", **more)


def test_a_good_machine_has_no_findings():
    assert findings(facts(free_bytes={"/var/lib/loft": DISK_BYTES_MIN})) == []


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Facts(is_root=False), "sudo"),
        (Facts(is_root=True, has_power=False), "--privileged"),
        (facts(missing_tools=("nft", "nsenter")), "missing: nft, nsenter; install them: apt-get install nftables util"),
        (facts(missing_plugins=("ptp",)), "apt-get install containernetworking-plugins"),
        (facts(missing_tools=("runc",), missing_plugins=("ptp",)), "containernetworking-plugins runc"),
        (facts(missing_kernel=("overlayfs (CONFIG_OVERLAY_FS)",)), "kernel lacks overlayfs (CONFIG_OVERLAY_FS)"),
        (facts(missing_controllers=("memory",)), "cgroup_enable=memory"),
        (facts(free_bytes={"/var/cache/loft": DISK_BYTES_MIN - 1}), "/var/cache/loft has 3071 MiB free and 3072"),
        (facts(free_bytes={"/d": 511 << 20}, disk_bytes_min=512 << 20), "/d has 511 MiB free and 512"),
        (facts(unwritable=("/srv/loft",)), "nothing can be written at /srv/loft"),
        (facts(memory_bytes=MEMORY_BYTES_MIN - 1), "1023 MiB of memory are available and 1024"),
        (facts(busy=(Listener("0.0.0.0", 10250, "kubelet (pid 7)"),)), "10250 on 0.0.0.0 is in use by kubelet (pid 7)"),
        (facts(busy=(Listener("0.0.0.0", 6443),)), "in use by another program"),
        (facts(overlapping=("10.0.0.0/8 via 192.0.2.9 dev tun0",)), "10.0.0.0/8 via 192.0.2.9 dev tun0; remove it"),
        (facts(running_elsewhere="/srv/a"), "LOFT_STATE_DIR=/srv/a loft stop"),
        (facts(running_elsewhere="/srv/a", busy=(Listener("10.201.0.1", 6443),)), "LOFT_STATE_DIR=/srv/a loft stop"),
        (Facts(is_root=True, state_dir="/x" * 40), "too long a path"),
        (Facts(is_root=True, state_dir="state"), "LOFT_STATE_DIR is 'state', which depends on where"),
        (facts(cache_dir="cache"), "LOFT_CACHE_DIR is 'cache'"),
    ],
)  # fmt: skip
def test_each_finding_says_what_is_wrong_and_what_to_do(seen, says):
    found = findings(seen)
    assert len(found) == 1
    assert says in found[0]
    assert "\n" not in found[0]


def test_without_root_nothing_else_is_told():
    assert len(findings(Facts(is_root=False, missing_tools=("nft",), memory_bytes=0))) == 1


def test_everything_that_is_wrong_is_told_at_once():
    assert len(findings(facts(missing_tools=("nft",), missing_kernel=("x",), memory_bytes=0))) == 3


def test_who_listens_is_read_from_the_kernel_not_asked_on_the_network():
    wanted = {"10.201.0.1": (6443, 10250), "127.0.0.1": (10249,)}
    assert listeners(TABLE, wanted) == [("10.201.0.1", 6443, 101), ("0.0.0.0", 10250, 102)]
    assert listeners("sl\n", wanted) == []


def test_sockets_of_ipv6_that_take_our_ports_are_found():
    wanted = {"10.201.0.1": (10250,), "127.0.0.1": (9898,), "::1": (9898,)}
    assert listeners(TABLE6, wanted) == [("::", 10250, 201), ("127.0.0.1", 9898, 202), ("::1", 9898, 203)]


def test_a_program_that_listens_on_all_addresses_of_ipv6_is_seen_on_this_machine():
    try:
        other = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError:
        pytest.skip("no IPv6 here")
    with other:
        port = other.getsockname()[1]
        (found,) = occupied({"127.0.0.1": (port,)})
        assert (found.address, found.port) == ("::", port)
    assert occupied({"127.0.0.1": (port,)}) == ()


def test_our_own_routes_are_no_overlap():
    assert overlapping(ROUTES, "10.201.0.0/16") == []


@pytest.mark.parametrize(
    "route",
    [
        "10.0.0.0/8 via 192.0.2.9 dev tun0",
        "10.201.3.0/24 dev docker0 proto kernel scope link src 10.201.3.1",
        "local 10.201.0.1 dev dummy0 table local proto kernel scope host src 10.201.0.1",
        "10.192.0.0/11 dev vethabc scope link",
    ],
)
def test_a_route_into_our_network_is_found(route):
    assert overlapping(ROUTES + route + "\n", "10.201.0.0/16") == [route]
