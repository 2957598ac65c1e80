"""Looks at this machine for `preflight.py`: gathers facts, changes nothing that lasts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from loft.embedded import network, registry
from loft.embedded.configuration import CNI_PLUGINS as CNI_DIRECTORY
from loft.embedded.layout import (
    API_PORT,
    CONTROLLER_MANAGER_PORT,
    KUBELET_PORT,
    MAIN_CLUSTER,
    PROXY_HEALTH_PORT,
    PROXY_METRICS_PORT,
    SCHEDULER_PORT,
    Layout,
    cache_root,
)
from loft.embedded.preflight import (
    CGROUP_CONTROLLERS,
    CNI_PLUGINS,
    DISK_BYTES_AGAIN,
    DISK_BYTES_MIN,
    TOOLS,
    Facts,
    Listener,
    PreflightError,
    findings,
    listeners,
    overlapping,
)
from loft.embedded.prepare import has_capability

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
PROBE_S = 20.0

NODE_PORTS = (API_PORT, KUBELET_PORT, CONTROLLER_MANAGER_PORT, SCHEDULER_PORT, PROXY_HEALTH_PORT)

# Tried in a network namespace that lives as long as the shell: what works there works for us.
KERNEL_PROBES = {
    "the bridge device (CONFIG_BRIDGE)": "ip link add loftp type bridge",
    "veth pairs (CONFIG_VETH)": "ip link add loftp type veth peer name loftq",
    "nftables (CONFIG_NF_TABLES)": "nft add table inet loftp",
    "nftables fib (CONFIG_NFT_FIB_INET)": (
        "nft add table inet loftp && nft 'add chain inet loftp c { type filter hook prerouting priority raw; }' "
        "&& nft add rule inet loftp c fib saddr . iif oif missing drop"
    ),
    "nftables NAT (CONFIG_NFT_NAT, CONFIG_NFT_MASQ)": (
        "nft add table ip loftp && nft 'add chain ip loftp c { type nat hook postrouting priority srcnat; }' "
        "&& nft add rule ip loftp c masquerade"
    ),
    "iptables NAT (CONFIG_NF_NAT, CONFIG_NFT_COMPAT)": (
        "iptables -t nat -A POSTROUTING -m comment --comment loftp -j MASQUERADE"
    ),
}


def check(name: str) -> None:
    """Refuse to start the cluster on a machine that cannot run it. Raises: PreflightError, BadName, RegistryError."""
    found = findings(gather(name))
    if found:
        raise PreflightError("\n".join(found))


def gather(name: str) -> Facts:
    """Look at the machine before the cluster `name` is started. Raises: BadName, RegistryError."""
    if os.geteuid() != 0:
        return Facts(is_root=False)
    layout = registry.planned(name)
    status = Path("/proc/self/status").read_text()
    missing_tools = tuple(tool for tool in TOOLS if not shutil.which(tool))
    return Facts(
        is_root=True,
        has_power=has_capability(CAP_NET_ADMIN, status) and has_capability(CAP_SYS_ADMIN, status),
        missing_tools=missing_tools,
        missing_plugins=tuple(plugin for plugin in CNI_PLUGINS if not (CNI_DIRECTORY / plugin).exists()),
        missing_kernel=() if missing_tools else tuple(_missing_kernel()),
        missing_controllers=tuple(_missing_controllers()),
        unwritable=_unwritable([layout.state_dir, cache_root()]),
        free_bytes=_free([layout.state_dir, cache_root()]),
        disk_bytes_min=DISK_BYTES_AGAIN if layout.kubeconfig.exists() else DISK_BYTES_MIN,
        memory_bytes=_memory_available(),
        busy=_busy(layout),
        overlapping=tuple(overlapping(_output("ip", "-4", "-o", "route", "show", "table", "all"), layout.network)),
        network=layout.network,
        running_elsewhere=_running_elsewhere(layout),
        state_dir=str(layout.state_dir),
        cache_dir=str(cache_root()),
    )


def _unwritable(places: list[Path]) -> tuple[str, ...]:
    """Return the places where even root can make nothing."""
    found = [(place, _existing(place)) for place in places]
    return tuple(str(place) for place, there in found if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)))


def _existing(place: Path) -> Path:
    return next(path for path in (place, *place.parents) if path.exists())


def _free(places: list[Path]) -> dict[str, int]:
    """Return the free bytes by directory; two on one disk count once."""
    found: dict[int, tuple[str, int]] = {}
    for place in places:
        existing = _existing(place)
        found.setdefault(existing.stat().st_dev, (str(place), shutil.disk_usage(existing).free))
    return dict(found.values())


def _memory_available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _missing_kernel() -> list[str]:
    missing = [name for name, probe in KERNEL_PROBES.items() if _fails("unshare", "--net", "sh", "-c", probe)]
    if "overlay" not in Path("/proc/filesystems").read_text() and _fails("modprobe", "overlay"):
        missing.append("overlayfs (CONFIG_OVERLAY_FS)")
    return missing


def _missing_controllers() -> list[str]:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        present = set(unified.read_text().split())
    else:
        options = [line.split()[3] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup " in line]
        present = {option for text in options for option in text.split(",")}
    return [name for name in CGROUP_CONTROLLERS if name not in present]


def _busy(layout: Layout) -> tuple[Listener, ...]:
    """Return who listens on our ports; a named cluster has a network, and so all ports, of its own."""
    if not layout.is_main or _daemon_alive(layout.directory):
        return ()
    return occupied({layout.node_ip: NODE_PORTS, "127.0.0.1": (PROXY_METRICS_PORT,)})


def occupied(wanted: dict[str, tuple[int, ...]]) -> tuple[Listener, ...]:
    """Return who listens on any of these ports, by address; a socket on all addresses takes each of them."""
    tables = [path.read_text() for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    found = [item for table in tables for item in listeners(table, wanted)]
    owners = _socket_owners({inode for _, _, inode in found})
    return tuple(Listener(address, port, owners.get(inode, "")) for address, port, inode in found)


def _socket_owners(inodes: set[int]) -> dict[int, str]:
    """Return "name (pid N)" by the inode of a socket."""
    found: dict[int, str] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for link in Path("/proc").glob("[0-9]*/fd/*") if wanted else ():
        try:
            target = os.readlink(link)
            if target in wanted:
                process = link.parent.parent
                found[wanted[target]] = f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return found


def _running_elsewhere(layout: Layout) -> str:
    owner = network.owner(layout)
    if not layout.is_main or owner in ("", str(layout.state_dir)):
        return ""
    return owner if _daemon_alive(Path(owner) / "clusters" / MAIN_CLUSTER) else ""


def _daemon_alive(directory: Path) -> bool:
    try:
        text = (directory / "daemon.lock").read_text().strip()
        command = Path(f"/proc/{int(text)}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
    return b"loft.embedded.daemon" in command


def _fails(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=PROBE_S).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return True


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROBE_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
