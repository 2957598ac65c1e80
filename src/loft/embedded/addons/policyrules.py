"""NetworkPolicies as one nftables table: a pure function from policies, pods and namespaces to its text.

Where packets are seen: pods are routed by the node, so a packet between pods passes the forward hook with the
pods' own addresses (Services are translated before it), and a packet from a pod to its node passes the input
hook. Packets from the node to a pod pass neither: the kubelet's probes always arrive.

What is closed on purpose: a packet from a pod's interface whose sender is not that pod (policies judge by
address), a part of a policy that cannot be read (it allows nothing), a namespace whose policy selects by
something that cannot be read (all its pods are isolated). Text from users never reaches nftables: what is
written are addresses and numbers that were parsed, and names made of digests.

Source: kubernetes.io, "Network Policies": policies add up, a pod that none selects is open, a pod can always
reach itself.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any

from loft.core.selector import from_label_selector

FINISHED = ("Succeeded", "Failed")
PROTOCOLS = ("tcp", "udp", "sctp")
EVERYTHING: dict[str, Any] = {}
"""A selector that selects all."""

Object = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def ruleset(
    table: str, policies: Sequence[Object], pods: Sequence[Object], namespaces: Sequence[Object], *, network: str
) -> str:
    """Return the nftables table that enforces the policies; loading it replaces the old one in one step.

    Args:
        table: its name.
        policies: NetworkPolicies of all namespaces.
        pods: all pods; those without an address, finished, or in the host's network take no part.
        namespaces: all namespaces, for their labels.
        network: the range of all pods, Services and nodes; senders within it must be who they say.
    """
    world = _World(pods, namespaces)
    chains: list[str] = []
    jumps: dict[str, dict[str, list[str]]] = {"ingress": {}, "egress": {}}
    for policy in sorted(policies, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"])):
        selected = world.selected(policy)
        for direction in _directions(policy["spec"]):
            name = _chain_name(policy, direction)
            chains.append(_chain(name, _rules(policy, direction, world, selected)))
            for pod in selected:
                jumps[direction].setdefault(_address(pod), []).append(name)
    blocks = [
        _pod_chain(direction, address, names)
        for direction, found in jumps.items()
        for address, names in sorted(found.items())
    ]
    body = "\n".join([*chains, *blocks, *_hooks(jumps), _true_senders(network)])
    return f"table inet {table} {{}}\ndelete table inet {table}\ntable inet {table} {{\n{body}\n}}\n"


def slim_pod(pod: Object) -> Object:
    """Return what `ruleset` reads of a pod; for caches."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    return {
        "metadata": {
            key: pod["metadata"][key]
            for key in ("namespace", "name", "uid", "resourceVersion", "labels")
            if key in pod["metadata"]
        },
        "spec": {
            "hostNetwork": spec.get("hostNetwork", False),
            "containers": [{"ports": item["ports"]} for item in _servers(spec) if item.get("ports")],
        },
        "status": {"podIP": status.get("podIP", ""), "phase": status.get("phase", "")},
    }


def _servers(spec: Object) -> list[Object]:
    """Containers whose ports count: sidecars are init containers that go on running."""
    sidecars = [item for item in spec.get("initContainers") or [] if item.get("restartPolicy") == "Always"]
    return [*(spec.get("containers") or []), *sidecars]


class _World:
    """Pods by namespace and the labels of namespaces."""

    def __init__(self, pods: Sequence[Object], namespaces: Sequence[Object]) -> None:
        self._labels = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in namespaces}
        self._pods: dict[str, list[Object]] = {}
        for pod in sorted(pods, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"])):
            if _address(pod):
                self._pods.setdefault(pod["metadata"]["namespace"], []).append(pod)

    def selected(self, policy: Object) -> list[Object]:
        """Return the pods that a policy is about."""
        namespace = policy["metadata"]["namespace"]
        try:
            return self.select(namespace, policy["spec"].get("podSelector") or EVERYTHING)
        except ValueError:
            return self.select(namespace, EVERYTHING)

    def select(self, namespace: str, selector: Object) -> list[Object]:
        """Return the pods of one namespace that a selector selects. Raises: ValueError."""
        wanted = from_label_selector(selector)
        return [pod for pod in self._pods.get(namespace, []) if wanted.matches(pod["metadata"].get("labels") or {})]

    def peers(self, namespace: str, peer: Object) -> list[Object]:
        """Return the pods that a peer with selectors means; none when a selector cannot be read."""
        homes: Iterable[str] = [namespace]
        selector = peer.get("podSelector")
        try:
            if peer.get("namespaceSelector") is not None:
                wanted = from_label_selector(peer["namespaceSelector"])
                homes = [name for name, labels in self._labels.items() if wanted.matches(labels)]
            elif selector is None:
                return []
            return [pod for home in homes for pod in self.select(home, EVERYTHING if selector is None else selector)]
        except ValueError:
            return []

    def everyone(self) -> list[Object]:
        """Return all pods."""
        return [pod for pods in self._pods.values() for pod in pods]


def _address(pod: Object) -> str:
    status = pod.get("status") or {}
    if (pod.get("spec") or {}).get("hostNetwork") or status.get("phase") in FINISHED:
        return ""
    try:
        return str(ipaddress.IPv4Address(status.get("podIP") or ""))
    except ValueError:
        return ""


def _directions(spec: Object) -> list[str]:
    types = spec.get("policyTypes")
    if types is None:
        types = ["Ingress", "Egress"] if "egress" in spec else ["Ingress"]
    return [name.lower() for name in types if name in ("Ingress", "Egress")]


def _chain_name(policy: Object, direction: str) -> str:
    text = f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"
    return f"{direction}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _chain(name: str, rules: list[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n{lines}  }}"


# Rules of one policy


def _rules(policy: Object, direction: str, world: _World, selected: list[Object]) -> list[str]:
    found = []
    for rule in policy["spec"].get(direction) or []:
        peers = rule.get("from" if direction == "ingress" else "to")
        remote = "saddr" if direction == "ingress" else "daddr"
        sources = [""] if not peers else _sources(peers, policy["metadata"]["namespace"], world, remote)
        targets = selected if direction == "ingress" else _egress_targets(peers, policy, world)
        ports = [""] if not rule.get("ports") else _ports(rule["ports"], targets)
        found += [" ".join(filter(None, (source, port, "accept"))) for source in sources for port in ports]
    return found


def _egress_targets(peers: list[Object] | None, policy: Object, world: _World) -> list[Object]:
    """Return the pods whose named ports an egress rule may mean."""
    if not peers:
        return world.everyone()
    namespace = policy["metadata"]["namespace"]
    return [pod for peer in peers if "ipBlock" not in peer for pod in world.peers(namespace, peer)]


def _sources(peers: list[Object], namespace: str, world: _World, side: str) -> list[str]:
    found, addresses = [], set()
    for peer in peers:
        if peer.get("ipBlock"):
            found += _block(peer["ipBlock"], side)
        else:
            addresses |= {_address(pod) for pod in world.peers(namespace, peer)}
    if addresses:
        found.append(f"ip {side} {_set(addresses)}")
    return found


def _block(block: Object, side: str) -> list[str]:
    try:
        whole = _network(block["cidr"])
        holes = [_network(text) for text in block.get("except") or []]
    except ValueError:
        return []
    word = "ip" if whole.version == 4 else "ip6"
    # Holes may overlap each other, and nftables refuses sets whose intervals do.
    kept = _collapsed([hole for hole in holes if hole.version == whole.version])
    text = f"{word} {side} {whole}"
    return [f"{text} {word} {side} != {{ {', '.join(str(hole) for hole in kept)} }}" if kept else text]


def _collapsed(networks: list[Network]) -> list[Network]:
    four = [item for item in networks if isinstance(item, ipaddress.IPv4Network)]
    six = [item for item in networks if isinstance(item, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]


def _network(text: str) -> Network:
    """Read a CIDR as the API server does: host bits, leading zeros and IPv4 within IPv6 are let in for old objects.

    Raises: ValueError.
    """
    if ":" not in text:
        return ipaddress.IPv4Network(re.sub(r"\b0+(?=\d)", "", text), strict=False)
    whole = ipaddress.IPv6Network(text, strict=False)
    inner = whole.network_address.ipv4_mapped
    if inner is not None and whole.prefixlen >= 96:
        return ipaddress.IPv4Network(f"{inner}/{whole.prefixlen - 96}", strict=False)
    return whole


def _set(addresses: Iterable[str]) -> str:
    ordered = sorted(addresses, key=ipaddress.IPv4Address)
    return f"{{ {', '.join(ordered)} }}"


def _ports(ports: list[Object], targets: list[Object]) -> list[str]:
    found = []
    for port in ports:
        protocol = str(port.get("protocol") or "TCP").lower()
        number = port.get("port")
        if protocol not in PROTOCOLS:
            continue
        if number is None:
            found.append(f"meta l4proto {protocol}")
        elif isinstance(number, int):
            end = port.get("endPort")
            found.append(f"{protocol} dport {number}-{int(end)}" if end else f"{protocol} dport {number}")
        else:
            found += _named_port(str(number), protocol, targets)
    return found


def _named_port(name: str, protocol: str, targets: list[Object]) -> list[str]:
    """A named port may be another number in each pod."""
    by_number: dict[int, set[str]] = {}
    for pod in targets:
        for container in _servers(pod.get("spec") or {}):
            for port in container.get("ports") or []:
                if port.get("name") == name and str(port.get("protocol") or "TCP").lower() == protocol:
                    by_number.setdefault(int(port["containerPort"]), set()).add(_address(pod))
    return [f"ip daddr {_set(addresses)} {protocol} dport {number}" for number, addresses in sorted(by_number.items())]


# Chains of pods and hooks


def _pod_chain_name(direction: str, address: str) -> str:
    return f"{direction}-{address.replace('.', '-')}"


def _pod_chain(direction: str, address: str, names: list[str]) -> str:
    other = "saddr" if direction == "ingress" else "daddr"
    itself = f"ip {other} {address} accept"
    return _chain(_pod_chain_name(direction, address), [itself, *(f"jump {name}" for name in names), "drop"])


def _hooks(jumps: dict[str, dict[str, list[str]]]) -> list[str]:
    """Base chains. `accept` ends only its own base chain: so egress is asked in one of an earlier priority than
    ingress, and both have to let a packet pass."""
    return [
        _hook("forward-egress", "forward priority -2", "saddr", "egress", jumps),
        _hook("forward-ingress", "forward priority -1", "daddr", "ingress", jumps),
        _hook("input-egress", "input priority -2", "saddr", "egress", jumps),
    ]


def _hook(name: str, place: str, side: str, direction: str, jumps: dict[str, dict[str, list[str]]]) -> str:
    rules = [f"type filter hook {place}; policy accept;", "ct state established,related accept"]
    elements = [f"{address} : jump {_pod_chain_name(direction, address)}" for address in sorted(jumps[direction])]
    if elements:
        rules.append(f"ip {side} vmap {{ {', '.join(elements)} }}")
    return _chain(name, rules)


def _true_senders(network: str) -> str:
    """Drop what comes from a pod's interface under an address that is not routed to that interface.

    Only packets that concern the clusters' own range are looked at: other software has `veth` devices too.
    """
    checked = f"{ipaddress.IPv4Network(network)}"
    return _chain(
        "true-senders",
        [
            # After connection tracking's defragmentation and before it makes an entry.
            "type filter hook prerouting priority -300; policy accept;",
            f'iifname "veth*" ip saddr {checked} fib saddr . iif oif missing drop',
            f'iifname "veth*" ip daddr {checked} fib saddr . iif oif missing drop',
        ],
    )
