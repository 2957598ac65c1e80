"""What a machine must have, as a table of facts and the line that each gets."""

import pytest

from loft.embedded.preflight import DISK_BYTES_MIN, Facts, findings, listening

GOOD = Facts(is_root=True)

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100C90A:192B 00000000:0000 0A 00000000:00000000
   1: 00000000:0016 00000000:0000 0A 00000000:00000000
   2: 0100007F:192C 0100007F:C001 01 00000000:00000000
"""


def test_a_good_machine_has_no_findings():
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (Facts(is_root=False), "sudo"),
        (Facts(is_root=True, missing_tools=("nft", "nsenter")), "apt-get install nftables util-linux"),
        (Facts(is_root=True, has_cni=False), "containernetworking-plugins"),
        (Facts(is_root=True, missing_tools=("runc",), has_cni=False), "containernetworking-plugins runc"),
        (Facts(is_root=True, missing_kernel=("overlayfs",)), "overlayfs"),
        (Facts(is_root=True, free_bytes=DISK_BYTES_MIN - 1, disk="/var/lib/loft"), "/var/lib/loft has 3071 MiB free"),
        (Facts(is_root=True, busy_address="10.201.0.1:6443"), "10.201.0.1:6443 is in use"),
        (Facts(is_root=True, foreign_address="10.201.0.0/20"), "10.201.0.0/20 is routed"),
    ],
)
def test_each_finding_says_what_is_wrong_and_what_to_do(facts, says):
    found = findings(facts)
    assert len(found) == 1
    assert says in found[0]


def test_without_root_nothing_else_is_told():
    assert len(findings(Facts(is_root=False, missing_tools=("nft",), free_bytes=0))) == 1


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("10.201.0.1", 6443, True),
        ("10.201.0.2", 6443, False),
        ("10.201.0.1", 6444, False),
        ("10.9.9.9", 22, True),
        ("127.0.0.1", 6444, False),
    ],
    ids=["listening", "other address", "other port", "all addresses", "connected only"],
)
def test_who_listens_is_read_from_the_kernel_not_asked_on_the_network(address, port, expected):
    assert listening(TABLE, address, port) is expected
