"""What a machine must have before a cluster is started; each finding says what is wrong and what to do.

`findings` is pure over gathered facts; `machine.py` looks at the machine.
"""

from __future__ import annotations

import ipaddress

import msgspec

MIB = 1024**2
DISK_BYTES_MIN = 3 * 1024**3
DISK_BYTES_AGAIN = 512 * 1024**2
"""For a cluster that has run before: its programs and images are there."""
MEMORY_BYTES_MIN = 1024**3
STATE_PATH_MAX = 48
"""A socket's path may have 107 bytes, and ours lie deep below the state directory."""

TOOLS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "mount": "mount",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mmdebstrap": "mmdebstrap",
    "sysctl": "procps",
}
"""Program and the Debian package that brings it."""

CNI_PLUGINS = ("ptp", "host-local", "portmap", "loopback")
CNI_PACKAGE = "containernetworking-plugins"

CGROUP_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
"""The kubelet does not start without them."""


class PreflightError(Exception):
    """The machine lacks something; the message lists every finding."""


class Listener(msgspec.Struct, frozen=True):
    """A TCP socket of another program on a port that we need."""

    address: str
    port: int
    program: str = ""
    """Name and pid, "" when they cannot be seen."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen on this machine."""

    is_root: bool
    has_power: bool = True
    """Root's capabilities to make mounts and networks, which a container usually lacks."""
    missing_tools: tuple[str, ...] = ()
    missing_plugins: tuple[str, ...] = ()
    missing_kernel: tuple[str, ...] = ()
    missing_controllers: tuple[str, ...] = ()
    unwritable: tuple[str, ...] = ()
    """Directories in which nothing can be made."""
    free_bytes: dict[str, int] = {}
    """By directory."""
    disk_bytes_min: int = DISK_BYTES_MIN
    memory_bytes: int = MEMORY_BYTES_MIN
    """Available, as the kernel estimates it."""
    busy: tuple[Listener, ...] = ()
    overlapping: tuple[str, ...] = ()
    """Routes of this machine that overlap with the clusters' network, as `ip route` prints them."""
    network: str = ""
    running_elsewhere: str = ""
    """State directory whose main cluster runs, when it is another one than ours."""
    state_dir: str = ""
    cache_dir: str = "/var/cache/loft"


def findings(facts: Facts) -> list[str]:
    """Return one line for each thing that must be put right first."""
    if not facts.is_root:
        return ["this needs root: run it with sudo"]
    if not facts.has_power:
        return ["root may not make mounts and networks here: use a machine, or a container run with --privileged"]
    return [*_software(facts), *_kernel(facts), *_resources(facts), *_network(facts)]


def _software(facts: Facts) -> list[str]:
    missing = [*facts.missing_tools, *(f"network plugin {name}" for name in facts.missing_plugins)]
    if not missing:
        return []
    packages = {TOOLS[tool] for tool in facts.missing_tools} | ({CNI_PACKAGE} if facts.missing_plugins else set())
    return [f"missing: {', '.join(missing)}; install them: apt-get install {' '.join(sorted(packages))}"]


def _kernel(facts: Facts) -> list[str]:
    found = [f"the kernel lacks {feature}; use a kernel that has it" for feature in facts.missing_kernel]
    if facts.missing_controllers:
        names = ", ".join(facts.missing_controllers)
        found.append(f"cgroup controllers are missing: {names}; mount cgroups, or boot with cgroup_enable={names}")
    return found


def _resources(facts: Facts) -> list[str]:
    found = []
    for variable, place in (("LOFT_STATE_DIR", facts.state_dir), ("LOFT_CACHE_DIR", facts.cache_dir)):
        if not place.startswith("/"):
            found.append(f"{variable} is {place!r}, which depends on where a command runs; set it to an absolute path")
    if len(facts.state_dir) > STATE_PATH_MAX:
        found.append(f"{facts.state_dir} is too long a path for sockets below it; set LOFT_STATE_DIR to a shorter one")
    found += [
        f"nothing can be written at {place} (a read-only disk, or no directory); set LOFT_STATE_DIR and "
        "LOFT_CACHE_DIR to another place"
        for place in facts.unwritable
    ]
    for place, free in facts.free_bytes.items():
        if free < facts.disk_bytes_min:
            have, need = free // MIB, facts.disk_bytes_min // MIB
            found.append(
                f"{place} has {have} MiB free and {need} MiB are needed; free some, "
                "or set LOFT_STATE_DIR and LOFT_CACHE_DIR to a larger disk"
            )
    if facts.memory_bytes < MEMORY_BYTES_MIN:
        have, need = facts.memory_bytes // MIB, MEMORY_BYTES_MIN // MIB
        found.append(f"{have} MiB of memory are available and {need} MiB are needed; end something, or add memory")
    return found


def _network(facts: Facts) -> list[str]:
    found = []
    if facts.running_elsewhere:
        found.append(
            f"another main cluster runs here, with its state in {facts.running_elsewhere}; stop it: "
            f"LOFT_STATE_DIR={facts.running_elsewhere} loft stop"
        )
    # Its processes have the ports; naming each would say the same again.
    for item in () if facts.running_elsewhere else facts.busy:
        who = item.program or "another program"
        found.append(f"port {item.port} on {item.address} is in use by {who}; stop it (`ss -ltnp` shows who listens)")
    found += [
        f"this machine has a route into {facts.network}, which the clusters need for themselves: {route}; remove it"
        for route in facts.overlapping
    ]
    return found


def overlapping(routes: str, network: str) -> list[str]:
    """Return the routes into a network that are not ours.

    Args:
        routes: output of `ip -4 -o route show table all`.
        network: the /16 of the clusters. A default route is no overlap, and neither are the devices loft*,
            the pods' own routes (`veth*`, one address each), and the `unreachable` ones we lay below them.
    """
    wanted = ipaddress.IPv4Network(network)
    found = []
    for line in routes.splitlines():
        words = line.split()
        kind = words.pop(0) if words and words[0] in ROUTE_TYPES else ""
        if not words or words[0] == "default" or kind in ("unreachable", "broadcast", "multicast"):
            continue
        try:
            target = ipaddress.IPv4Network(words[0])
        except ValueError:
            continue
        device = words[words.index("dev") + 1] if "dev" in words[:-1] else ""
        ours = device.startswith("loft") or (device.startswith("veth") and target.subnet_of(wanted))
        if target.overlaps(wanted) and target.prefixlen > 0 and not ours:
            found.append(" ".join(line.split()))
    return found


ROUTE_TYPES = ("local", "unreachable", "broadcast", "blackhole", "prohibit", "multicast", "throw", "nat", "anycast")


def listeners(table: str, wanted: dict[str, tuple[int, ...]]) -> list[tuple[str, int, int]]:
    """Return address, port and inode of the sockets that listen where we want to.

    Args:
        table: content of /proc/net/tcp or tcp6; nothing is sent anywhere to find out.
        wanted: ports by the address we bind them to; a socket on all addresses takes each of them, and one on all
            IPv6 addresses usually those of IPv4 as well.
    """
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != "0A":
            continue
        packed, _, port_text = fields[1].partition(":")
        address = _address(packed)
        port = int(port_text, 16)
        if any(port in ports and address in (mine, "0.0.0.0", "::") for mine, ports in wanted.items()):
            found.append((address, port, int(fields[9])))
    return found


def _address(packed: str) -> str:
    """Return an address of the kernel's tables: words of 32 bits, each in the machine's order (little-endian)."""
    raw = bytes.fromhex(packed)
    turned = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ipaddress.ip_address(turned)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
