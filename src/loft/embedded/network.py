"""The network of an embedded cluster: devices and routes, and the order in which the rules around them come.

The lists of commands are pure; `apply` runs them. Everything can be applied again at any moment.

- A bridge without ports carries the node IP of the main cluster. Services are routed to it, so that a packet
  for a Service that kube-proxy does not know yet goes nowhere instead of out; pods that do not exist are
  unreachable at once. (Services need a real device: the kernel looks for a route before it rewrites.)
- A named cluster has a network namespace; a veth pair joins it to this machine.
- `guard.py` says what may pass; it is loaded before forwarding is turned on.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from loft.embedded import guard, portmapping
from loft.embedded.layout import CLUSTERS_MAX, Layout

NETWORK_CLASS = Path("/sys/class/net")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")

FORWARDING_BEFORE = Path("/run/loft/forwarding-before")
"""What `ip_forward` was before the first cluster; as short-lived as the setting itself: until the next boot."""

SYSCTLS_MIN = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 524288}
"""Pods watch many files; the kernel's defaults are for a desktop."""

COMMAND_S = 30.0


class NetworkError(Exception):
    """A network command failed; the message holds the command and its complaint."""


def up_commands(layout: Layout) -> list[list[str]]:
    """Return the commands that make the cluster's devices and routes; each may be run again."""
    return _up_main(layout) if layout.is_main else _up_named(layout)


def _up_main(layout: Layout) -> list[list[str]]:
    return [
        ["ip", "link", "add", layout.bridge, "type", "bridge"],
        ["ip", "link", "set", layout.bridge, "alias", str(layout.state_dir)],
        ["ip", "addr", "replace", f"{layout.node_ip}/32", "dev", layout.bridge],
        ["ip", "link", "set", layout.bridge, "up"],
        ["ip", "route", "replace", "unreachable", layout.network],
        ["ip", "route", "replace", layout.cluster_cidr, "dev", layout.bridge],
        ["ip", "route", "replace", "unreachable", layout.pod_cidr],
    ]


def _up_named(layout: Layout) -> list[list[str]]:
    inside = [*layout.enter]
    return [
        ["ip", "netns", "add", layout.netns],
        ["ip", "link", "add", layout.veth, "type", "veth", "peer", "name", "uplink", "netns", layout.netns],
        ["ip", "link", "set", layout.veth, "alias", str(layout.state_dir)],
        ["ip", "addr", "replace", f"{layout.uplink_ip}/32", "dev", layout.veth],
        ["ip", "link", "set", layout.veth, "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
        [*inside, "ip", "addr", "replace", f"{layout.node_ip}/32", "dev", "uplink"],
        [*inside, "ip", "link", "set", "uplink", "up"],
        [*inside, "ip", "link", "add", layout.bridge, "type", "bridge"],
        [*inside, "ip", "link", "set", layout.bridge, "up"],
        # No default route: what is not one of the clusters is unreachable from here, and told so at once.
        [*inside, "ip", "route", "replace", layout.network, "via", layout.uplink_ip, "dev", "uplink", "onlink"],
        [*inside, "ip", "route", "replace", layout.cluster_cidr, "dev", layout.bridge],
        [*inside, "ip", "route", "replace", f"{layout.uplink_ip}/32", "dev", "uplink", "src", layout.node_ip],
        [*inside, "ip", "route", "replace", "unreachable", layout.pod_cidr],
        ["ip", "route", "replace", "unreachable", layout.network],
        ["ip", "route", "replace", layout.cluster_cidr, "via", layout.node_ip, "dev", layout.veth, "onlink"],
    ]


def down_commands(layout: Layout) -> list[list[str]]:
    """Return the commands that remove what `up_commands`, kube-proxy and the policies made."""
    if not layout.is_main:
        return [["ip", "link", "delete", layout.veth], ["ip", "netns", "delete", layout.netns]]
    return [
        ["nft", "delete", "table", "ip", "kube-proxy"],
        ["nft", "delete", "table", "ip6", "kube-proxy"],
        ["nft", "delete", "table", "inet", f"loft-netpol-{layout.name}"],
        ["ip", "route", "delete", "unreachable", layout.pod_cidr],
        ["ip", "link", "delete", layout.bridge],
    ]


def apply(layout: Layout) -> None:
    """Make the cluster's network. Raises: NetworkError."""
    _load_guard(guard.ruleset(layout.network, _not_routed()), ())
    for command in up_commands(layout):
        complaint = _run(command)
        if complaint and "File exists" not in complaint:
            raise NetworkError(f"{' '.join(command)}: {complaint}")
    if not layout.is_main:
        _load_guard(guard.ruleset(layout.network), layout.enter)
    for rule in guard.firewall_rules(layout.network, layout.node_ip):
        if _run(["iptables", "-w", "-C", *rule]):
            _must(["iptables", "-w", "-I", *rule])
    for place in {(), layout.enter}:
        _must([*place, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    for name, least in SYSCTLS_MIN.items():
        path = Path("/proc/sys") / name
        if int(path.read_text()) < least:
            path.write_text(str(least))


def remove(layout: Layout) -> None:
    """Remove the cluster's network as far as it is there, and the shared rules with the last cluster."""
    if owner(layout) not in ("", str(layout.state_dir)):
        return
    for command in down_commands(layout):
        _run(command)
    forget_port_mappings(layout)
    if devices():
        return
    _run(["nft", "-f", "-"], guard.removal())
    _run(["ip", "route", "delete", "unreachable", layout.network])
    for index in range(CLUSTERS_MAX):
        for rule in guard.firewall_rules(layout.network, _node_ip(layout, index)):
            _run(["iptables", "-w", "-D", *rule])
    _restore_forwarding()


def forget_port_mappings(layout: Layout) -> None:
    """Remove the rules of hostPorts of pods that are gone; only while no pod of the cluster runs."""
    saved = subprocess.run(
        [*layout.enter, "iptables-save", "-t", "nat"], capture_output=True, text=True, check=False, timeout=COMMAND_S
    )
    for command in portmapping.stale(saved.stdout, layout.name):
        _run([*layout.enter, "iptables", "-w", "-t", "nat", *command])


def devices() -> list[str]:
    """Return this machine's devices of embedded clusters, of whatever state directory."""
    names = {f"loft{index}{end}" for index in range(CLUSTERS_MAX) for end in ("", "up")}
    return sorted(path.name for path in NETWORK_CLASS.iterdir() if path.name in names)


def owner(layout: Layout) -> str:
    """Return the state directory whose cluster made the device of this index; "" when there is none."""
    device = layout.bridge if layout.is_main else layout.veth
    try:
        return (NETWORK_CLASS / device / "ifalias").read_text().strip()
    except OSError:
        return ""


def is_index_free(index: int, state_dir: Path) -> bool:
    """Tell whether no cluster of another state directory has its devices at this index."""
    device = NETWORK_CLASS / ("loft0" if index == 0 else f"loft{index}up")
    try:
        return (device / "ifalias").read_text().strip() == str(state_dir)
    except OSError:
        return True


def _node_ip(layout: Layout, index: int) -> str:
    return Layout(
        name=layout.name, index=index, state_dir=layout.state_dir, cache_dir=layout.cache_dir, network=layout.network
    ).node_ip


def _not_routed() -> list[str]:
    """Return the interfaces that must not become routed because of us: hardware, when forwarding was off."""
    if not FORWARDING_BEFORE.exists():
        FORWARDING_BEFORE.parent.mkdir(exist_ok=True)
        FORWARDING_BEFORE.write_text(FORWARDING.read_text())
    if FORWARDING_BEFORE.read_text().strip() == "1":
        return []
    return sorted(path.name for path in NETWORK_CLASS.iterdir() if (path / "device").exists())


def _restore_forwarding() -> None:
    """Turn forwarding off again if it was off before us and nothing else here seems to need it."""
    was_off = FORWARDING_BEFORE.exists() and FORWARDING_BEFORE.read_text().strip() == "0"
    FORWARDING_BEFORE.unlink(missing_ok=True)
    if was_off and not any((path / "bridge").exists() for path in NETWORK_CLASS.iterdir()):
        FORWARDING.write_text("0")


def _load_guard(text: str, place: Sequence[str]) -> None:
    complaint = _run([*place, "nft", "-f", "-"], text)
    if complaint:
        raise NetworkError(f"nft cannot load the guard: {complaint}")


def _must(command: list[str]) -> None:
    complaint = _run(command)
    if complaint:
        raise NetworkError(f"{' '.join(command)}: {complaint}")


def _run(command: Sequence[str], stdin: str = "") -> str:
    """Run one command and return its complaint, "" when it succeeded."""
    try:
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    except subprocess.TimeoutExpired:
        return f"does not end within {COMMAND_S:.0f} s"
    return "" if result.returncode == 0 else (result.stderr.strip() or f"exit code {result.returncode}")
