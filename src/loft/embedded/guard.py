"""The rules that keep the clusters' addresses on this machine, as pure text for nftables and iptables.

One table for all clusters of a network namespace: it speaks of the whole /16, so it is the same whichever
cluster loads it, and loading it again changes nothing.

What it says
- A packet for our addresses must come from our addresses, and a packet from our addresses must come in where
  that address lives (so no pod can pretend to be another one, and nothing outside can pretend to be a pod).
- Nothing but this machine itself may speak to 127.0.0.0/8. The portmap plugin sets `route_localnet` on the
  devices of pods with hostPorts, which would otherwise open this machine's loopback to them (CVE-2020-8558).
- Pods reach each other, Services, and this machine; to other machines they are refused at once.
- If this machine was no router before we turned forwarding on, it still is none between its own interfaces.
"""

from __future__ import annotations

from collections.abc import Sequence

TABLE = "loft-guard"

INPUT_COMMENT = "loft"


def ruleset(network: str, not_routed: Sequence[str] = ()) -> str:
    """Return the text for `nft -f -`, which replaces the table in one step.

    Args:
        network: the /16 of all clusters.
        not_routed: this machine's interfaces between which it did not forward before us.
    """
    router = ""
    if not_routed:
        names = ", ".join(f'"{name}"' for name in not_routed)
        router = f"\n    iifname {{ {names} }} oifname {{ {names} }} drop"
    return f"""\
table inet {TABLE} {{}}
delete table inet {TABLE}
table inet {TABLE} {{
  chain enter {{
    type filter hook prerouting priority raw; policy accept;
    iifname "lo" accept
    ip daddr 127.0.0.0/8 drop
    ip saddr {network} fib saddr . iif oif missing drop
    ip daddr {network} ip saddr != {network} drop
  }}
  chain pass {{
    type filter hook forward priority filter - 10; policy accept;
    ip saddr {network} ip daddr {network} accept
    ip saddr {network} reject with icmp type admin-prohibited
    ip daddr {network} drop{router}
  }}
  chain leave {{
    type filter hook postrouting priority srcnat + 200; policy accept;
    oifname {{ "lo", "uplink" }} accept
    oifname {{ "loft*", "veth*" }} accept
    ip saddr {network} drop
    ip daddr {network} drop
  }}
}}
"""


def removal() -> str:
    """Return the text for `nft -f -` that removes the table, whether it is there or not."""
    return f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\n"


def firewall_rules(network: str, node_ip: str) -> list[list[str]]:
    """Return the iptables rules (chain first) that let our packets through a firewall of this machine.

    Docker and ufw set the policy of FORWARD or INPUT to DROP. Accepting here is not accepting in the guard
    or in the NetworkPolicies: each base chain decides for itself, and one drop is enough.
    """
    mark = ["-m", "comment", "--comment", INPUT_COMMENT, "-j", "ACCEPT"]
    return [
        ["FORWARD", "-s", network, *mark],
        ["FORWARD", "-d", network, *mark],
        ["INPUT", "-s", network, "-d", node_ip, *mark],
    ]
