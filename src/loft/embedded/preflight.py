"""What a machine must have before a cluster is started; each finding says what is wrong and what to do.

`findings` is pure over gathered facts; `gather` looks at the machine.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import struct
import subprocess
from pathlib import Path

import msgspec

from loft.embedded.layout import API_PORT, Layout, cache_root, state_root
from loft.embedded.registry import layout_of

DISK_BYTES_MIN = 3 * 1024**3
TOOLS = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "mount": "mount",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "mmdebstrap": "mmdebstrap",
    "sysctl": "procps",
}
"""Program and the Debian package that brings it."""


class PreflightError(Exception):
    """The machine lacks something; the message lists every finding."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen on this machine."""

    is_root: bool
    missing_tools: tuple[str, ...] = ()
    has_cni: bool = True
    missing_kernel: tuple[str, ...] = ()
    free_bytes: int = DISK_BYTES_MIN
    disk: str = ""
    busy_address: str = ""
    foreign_address: str = ""


def findings(facts: Facts) -> list[str]:
    """Return one line for each thing that must be put right first."""
    if not facts.is_root:
        return ["this needs root: run it with sudo"]
    found = []
    if facts.missing_tools:
        names = sorted(
            {TOOLS[tool] for tool in facts.missing_tools}
            | (set() if facts.has_cni else {"containernetworking-plugins"})
        )
        found.append(
            f"missing programs: {', '.join(facts.missing_tools)}; install them: apt-get install {' '.join(names)}"
        )
    elif not facts.has_cni:
        found.append("missing network plugins; install them: apt-get install containernetworking-plugins")
    found += [f"the kernel lacks {feature}; use a kernel that has it" for feature in facts.missing_kernel]
    if facts.free_bytes < DISK_BYTES_MIN:
        need, have = DISK_BYTES_MIN // 1024**2, facts.free_bytes // 1024**2
        found.append(f"{facts.disk} has {have} MiB free and {need} MiB are needed; free some, or set LOFT_STATE_DIR")
    if facts.busy_address:
        found.append(f"{facts.busy_address} is in use by another program; stop it, or see `ss -ltnp`")
    if facts.foreign_address:
        found.append(
            f"{facts.foreign_address} is routed on this machine already; the embedded clusters need that range"
        )
    return found


def gather(name: str) -> Facts:
    """Look at the machine before the cluster `name` is started."""
    if os.geteuid() != 0:
        return Facts(is_root=False)
    layout = layout_of(name, create=True)
    assert layout is not None, "create=True always gives a layout"
    disk = state_root()
    return Facts(
        is_root=True,
        missing_tools=tuple(tool for tool in TOOLS if not shutil.which(tool)),
        has_cni=all((Path("/usr/lib/cni") / plugin).exists() for plugin in ("ptp", "host-local", "portmap")),
        missing_kernel=tuple(_missing_kernel()),
        free_bytes=min(shutil.disk_usage(_existing(path)).free for path in (disk, cache_root())),
        disk=str(disk),
        busy_address=_busy(layout),
        foreign_address=_foreign(layout),
    )


def check(name: str) -> None:
    """Refuse to start on a machine that cannot run a cluster. Raises: PreflightError."""
    found = findings(gather(name))
    if found:
        raise PreflightError("\n".join(found))


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _missing_kernel() -> list[str]:
    missing = []
    filesystems = Path("/proc/filesystems").read_text()
    if (
        "overlay" not in filesystems
        and subprocess.run(["modprobe", "overlay"], capture_output=True, check=False).returncode
    ):
        missing.append("overlayfs")
    if not Path("/proc/self/ns/net").exists():
        missing.append("network namespaces")
    if not Path("/sys/fs/cgroup").is_dir():
        missing.append("cgroups mounted at /sys/fs/cgroup")
    rule = "table inet loft-probe {}\ndelete table inet loft-probe\n"
    if (
        shutil.which("nft")
        and subprocess.run(["nft", "-f", "-"], input=rule, text=True, capture_output=True, check=False).returncode
    ):
        missing.append("nftables (nf_tables)")
    return missing


def _busy(layout: Layout) -> str:
    """Return the API server's address when something that is not our daemon listens there."""
    if (layout.run / "status.json").exists() or not layout.is_main:
        return ""
    taken = listening(Path("/proc/net/tcp").read_text(), layout.node_ip, API_PORT)
    return f"{layout.node_ip}:{API_PORT}" if taken else ""


def listening(table: str, address: str, port: int) -> bool:
    """Return whether a socket listens on an address (or on all) and a port.

    Args:
        table: content of /proc/net/tcp; nothing is sent anywhere to find out.
        address: IPv4 address.
        port: TCP port.
    """
    packed = struct.pack("<I", int(ipaddress.IPv4Address(address))).hex().upper()
    wanted = {f"{place}:{port:04X}" for place in (packed, "00000000")}
    rows = [line.split() for line in table.splitlines()[1:]]
    return any(row[1] in wanted and row[3] == "0A" for row in rows if len(row) > 3)


def _foreign(layout: Layout) -> str:
    routes = subprocess.run(["ip", "-4", "route", "show"], capture_output=True, text=True, check=False).stdout
    for line in routes.splitlines():
        if line.startswith(layout.cluster_cidr + " ") and "loft" not in line:
            return layout.cluster_cidr
    return ""
