"""The network of an embedded cluster: devices, routes and a guard that keeps its addresses on this machine.

The lists of commands are pure; `apply` runs them. Everything can be applied again at any moment.

- A bridge without ports carries the node IP of the main cluster and takes every packet for a pod or
  Service that nobody serves yet: it goes nowhere instead of out.
- A named cluster has a network namespace; a veth pair joins it to this machine.
- The guard drops packets of the clusters' /16 that come from or go to an interface that is not ours.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from loft.embedded.layout import Layout

OURS = ("lo", "loft*", "veth*")
"""Interfaces between which packets of the clusters may pass; `veth*` are the pods' (made by the ptp plugin)."""


class NetworkError(Exception):
    """A network command failed; the message holds the command and its complaint."""


def up_commands(layout: Layout) -> list[list[str]]:
    """Return the commands that make the cluster's devices and routes; each may be run again."""
    if layout.is_main:
        return [
            ["ip", "link", "add", layout.bridge, "type", "bridge"],
            ["ip", "addr", "replace", f"{layout.node_ip}/32", "dev", layout.bridge],
            ["ip", "link", "set", layout.bridge, "up"],
            ["ip", "route", "replace", layout.cluster_cidr, "dev", layout.bridge],
            ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
        ]
    inside = [*layout.enter]
    return [
        ["ip", "netns", "add", layout.netns],
        ["ip", "link", "add", layout.veth, "type", "veth", "peer", "name", "uplink", "netns", layout.netns],
        ["ip", "addr", "replace", f"{layout.uplink_ip}/32", "dev", layout.veth],
        ["ip", "link", "set", layout.veth, "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
        [*inside, "ip", "addr", "replace", f"{layout.node_ip}/32", "dev", "uplink"],
        [*inside, "ip", "link", "set", "uplink", "up"],
        [*inside, "ip", "link", "add", layout.bridge, "type", "bridge"],
        [*inside, "ip", "link", "set", layout.bridge, "up"],
        [*inside, "ip", "route", "replace", "default", "via", layout.uplink_ip, "dev", "uplink", "onlink"],
        [*inside, "ip", "route", "replace", layout.pod_cidr, "dev", layout.bridge],
        [*inside, "ip", "route", "replace", layout.service_cidr, "dev", layout.bridge],
        [*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"],
        ["ip", "route", "replace", layout.cluster_cidr, "via", layout.node_ip, "dev", layout.veth, "onlink"],
        ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
    ]


def down_commands(layout: Layout) -> list[list[str]]:
    """Return the commands that remove what `up_commands` and kube-proxy made."""
    if layout.is_main:
        return [
            ["nft", "delete", "table", "ip", "kube-proxy"],
            ["nft", "delete", "table", "ip6", "kube-proxy"],
            ["nft", "delete", "table", "inet", guard_table(layout)],
            ["nft", "delete", "table", "inet", f"loft-netpol-{layout.name}"],
            ["ip", "link", "delete", layout.bridge],
        ]
    return [["ip", "link", "delete", layout.veth], ["ip", "netns", "delete", layout.netns]]


def guard_table(layout: Layout) -> str:
    """Return the name of the guard's nftables table."""
    return f"loft-guard-{layout.index}"


def guard_ruleset(layout: Layout) -> str:
    """Return the nftables rules that keep the addresses of this cluster on this machine."""
    table = guard_table(layout)
    net = layout.cluster_cidr
    enter = "\n".join(f'    iifname "{name}" accept' for name in OURS)
    leave = "\n".join(f'    oifname "{name}" accept' for name in OURS)
    return f"""\
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  chain enter {{
    type filter hook prerouting priority raw; policy accept;
{enter}
    ip daddr {net} drop
    ip saddr {net} drop
  }}
  chain leave {{
    type filter hook postrouting priority 300; policy accept;
{leave}
    ip daddr {net} drop
    ip saddr {net} drop
  }}
}}
"""


def _run(command: list[str], stdin: str = "") -> str:
    """Run one command and return its complaint, "" when it succeeded."""
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    return "" if result.returncode == 0 else (result.stderr.strip() or f"exit code {result.returncode}")


def apply(layout: Layout) -> None:
    """Make the cluster's network. Raises: NetworkError."""
    for command in up_commands(layout):
        complaint = _run(command)
        if complaint and "File exists" not in complaint:
            raise NetworkError(f"{' '.join(command)}: {complaint}")
    complaint = _run(["nft", "-f", "-"], guard_ruleset(layout))
    if complaint:
        raise NetworkError(f"nft cannot load the guard: {complaint}")


def remove(layout: Layout) -> None:
    """Remove the cluster's network as far as it is there."""
    for command in down_commands(layout):
        _run(command)
    if layout.is_main:
        _remove_port_mappings(layout)


def _remove_port_mappings(layout: Layout) -> None:
    """Remove the iptables rules of hostPorts that lead to our pods (made by the portmap plugin)."""
    prefix = f"-d {layout.node_ip}"
    listing = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=False).stdout
    chains = {line.split()[1] for line in listing.splitlines() if line.startswith("-A CNI-DN-") and layout.name in line}
    for line in listing.splitlines():
        words = line.split()
        if line.startswith("-A ") and (f'name: \\"{layout.name}\\"' in line or words[1] in chains or prefix in line):
            _run(["sh", "-c", "iptables -t nat " + line.replace("-A ", "-D ", 1)])


def netns_path(layout: Layout) -> Path:
    """Return the file of the network namespace of a named cluster."""
    return Path("/run/netns") / layout.netns
