"""Enforces NetworkPolicies of an embedded cluster with nftables.

The network plugin routes pods and enforces nothing. `ruleset` is a pure function from policies, pods and
namespaces to the whole table, which replaces the old one atomically; the loop below watches and loads it.

Packets between pods pass the forward hook with the pods' own addresses, because Services are translated
before it. Packets from the node itself (the kubelet's probes) do not pass it and are never blocked.
Source: kubernetes.io, "Network Policies": policies add up; a pod that none selects is open.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from loft.core.resource import NAMESPACES, NETWORKPOLICIES, PODS
from loft.core.selector import from_label_selector
from loft.embedded.layout import Layout
from loft.kube.client import Client
from loft.kube.informer import Informer

log = logging.getLogger(__name__)

DEBOUNCE_S = 0.2
FINISHED = ("Succeeded", "Failed")

Object = dict[str, Any]


def ruleset(table: str, policies: Sequence[Object], pods: Sequence[Object], namespaces: Sequence[Object]) -> str:
    """Return the nftables table that enforces the policies.

    Args:
        table: its name; an existing one is replaced.
        policies: NetworkPolicies of all namespaces.
        pods: all pods; those without an address, finished, or in the host's network take no part.
        namespaces: all namespaces, for their labels.
    """
    world = _World([pod for pod in pods if _address(pod)], namespaces)
    chains: list[str] = []
    jumps: dict[str, dict[str, list[str]]] = {"ingress": {}, "egress": {}}
    for policy in sorted(policies, key=lambda item: (item["metadata"]["namespace"], item["metadata"]["name"])):
        selected = world.select(policy["metadata"]["namespace"], policy["spec"].get("podSelector") or {})
        for direction in _directions(policy["spec"]):
            name = _chain_name(policy, direction)
            chains.append(_chain(name, _rules(policy, direction, world, selected)))
            for pod in selected:
                jumps[direction].setdefault(_address(pod), []).append(name)
    blocks = [
        _pod_chain(direction, address, names) for direction in jumps for address, names in jumps[direction].items()
    ]
    body = "\n".join([*chains, *blocks, _entry(jumps)])
    return f"table inet {table} {{}}\ndelete table inet {table}\ntable inet {table} {{\n{body}\n}}\n"


class _World:
    """Pods by namespace and the labels of namespaces."""

    def __init__(self, pods: Sequence[Object], namespaces: Sequence[Object]) -> None:
        self._labels = {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in namespaces}
        self._pods: dict[str, list[Object]] = {}
        for pod in pods:
            self._pods.setdefault(pod["metadata"]["namespace"], []).append(pod)

    def select(self, namespace: str, selector: Object) -> list[Object]:
        """Return the pods of one namespace that a selector selects."""
        pods = self._pods.get(namespace, [])
        wanted = from_label_selector(selector)
        return [pod for pod in pods if wanted.matches(pod["metadata"].get("labels") or {})]

    def peers(self, namespace: str, peer: Object) -> list[Object]:
        """Return the pods that a peer with selectors means."""
        homes: Iterable[str] = [namespace]
        if peer.get("namespaceSelector") is not None:
            wanted = from_label_selector(peer["namespaceSelector"])
            homes = [name for name, labels in self._labels.items() if wanted.matches(labels)]
        selector = peer.get("podSelector")
        return [pod for home in homes for pod in self.select(home, {} if selector is None else selector)]


def _address(pod: Object) -> str:
    status = pod.get("status") or {}
    if (pod.get("spec") or {}).get("hostNetwork") or status.get("phase") in FINISHED:
        return ""
    return str(status.get("podIP") or "")


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


def _rules(policy: Object, direction: str, world: _World, selected: list[Object]) -> list[str]:
    found = []
    for rule in policy["spec"].get(direction) or []:
        peers = rule.get("from" if direction == "ingress" else "to")
        remote = "saddr" if direction == "ingress" else "daddr"
        sources = [""] if not peers else _sources(peers, policy["metadata"]["namespace"], world, remote)
        targets = selected if direction == "ingress" else _egress_targets(peers, policy, world)
        ports = [""] if not rule.get("ports") else _ports(rule["ports"], targets, "daddr")
        found += [" ".join(filter(None, (source, port, "accept"))) for source in sources for port in ports]
    return found


def _egress_targets(peers: list[Object] | None, policy: Object, world: _World) -> list[Object]:
    """Return the pods whose named ports an egress rule may mean."""
    if not peers:
        return world.peers(policy["metadata"]["namespace"], {"namespaceSelector": {}})
    namespace = policy["metadata"]["namespace"]
    return [pod for peer in peers if "ipBlock" not in peer for pod in world.peers(namespace, peer)]


def _sources(peers: list[Object], namespace: str, world: _World, side: str) -> list[str]:
    found, addresses = [], set()
    for peer in peers:
        if peer.get("ipBlock"):
            block = peer["ipBlock"]
            text = f"{_family(block['cidr'])} {side} {block['cidr']}"
            if block.get("except"):
                text += f" {_family(block['cidr'])} {side} != {{ {', '.join(sorted(block['except']))} }}"
            found.append(text)
        else:
            addresses |= {_address(pod) for pod in world.peers(namespace, peer)}
    if addresses:
        found.append(f"ip {side} {{ {', '.join(sorted(addresses))} }}")
    return found


def _family(cidr: str) -> str:
    return "ip6" if ":" in cidr else "ip"


def _ports(ports: list[Object], targets: list[Object], side: str) -> list[str]:
    found = []
    for port in ports:
        protocol = str(port.get("protocol") or "TCP").lower()
        number = port.get("port")
        if number is None:
            found.append(f"meta l4proto {protocol}")
        elif isinstance(number, int):
            end = port.get("endPort")
            found.append(f"{protocol} dport {number}-{end}" if end else f"{protocol} dport {number}")
        else:
            found += _named_port(str(number), protocol, targets, side)
    return found


def _named_port(name: str, protocol: str, targets: list[Object], side: str) -> list[str]:
    """A named port may be another number in each pod."""
    by_number: dict[int, set[str]] = {}
    for pod in targets:
        for container in (pod.get("spec") or {}).get("containers") or []:
            for port in container.get("ports") or []:
                if port.get("name") == name and str(port.get("protocol") or "TCP").lower() == protocol:
                    by_number.setdefault(port["containerPort"], set()).add(_address(pod))
    return [
        f"ip {side} {{ {', '.join(sorted(addresses))} }} {protocol} dport {number}"
        for number, addresses in sorted(by_number.items())
    ]


def _pod_chain_name(direction: str, address: str) -> str:
    return f"{direction}-{address.replace('.', '-').replace(':', '-')}"


def _pod_chain(direction: str, address: str, names: list[str]) -> str:
    return _chain(_pod_chain_name(direction, address), [*(f"jump {name}" for name in names), "drop"])


def _entry(jumps: dict[str, dict[str, list[str]]]) -> str:
    """The base chain. A policy chain accepts with `accept`, which ends the whole hook; so egress is asked in a chain
    of an earlier priority than ingress, and both must let the packet pass."""
    parts = []
    for direction, side, priority in (("egress", "saddr", -2), ("ingress", "daddr", -1)):
        rules = ["ct state established,related accept"]
        elements = [f"{address} : jump {_pod_chain_name(direction, address)}" for address in sorted(jumps[direction])]
        if elements:
            rules.append(f"ip {side} vmap {{ {', '.join(elements)} }}")
        head = f"type filter hook forward priority {priority}; policy accept;"
        parts.append(_chain(f"forward-{direction}", [head, *rules]))
    return "\n".join(parts)


async def run(client: Client, layout: Layout) -> None:
    """Watch and enforce until cancelled."""
    informers = [Informer(client, resource) for resource in (NETWORKPOLICIES, PODS, NAMESPACES)]
    changed = asyncio.Event()
    for informer in informers:
        informer.subscribe(lambda _key, _old, _new: changed.set())
    async with asyncio.TaskGroup() as group:
        for informer in informers:
            group.create_task(informer.run())
            await informer.synced()
        loaded = ""
        while True:
            policies, pods, namespaces = (informer.list() for informer in informers)
            text = ruleset(f"loft-netpol-{layout.name}", policies, pods, namespaces)
            if text != loaded:
                await load(layout, text)
                loaded = text
            await changed.wait()
            await asyncio.sleep(DEBOUNCE_S)
            changed.clear()


async def load(layout: Layout, text: str) -> None:
    """Load a ruleset atomically in the cluster's network. Raises: RuntimeError with nft's complaint."""
    process = await asyncio.create_subprocess_exec(
        *layout.enter,
        "nft",
        "-f",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate(text.encode())
    if process.returncode:
        raise RuntimeError(f"nft refused the network policies: {complaint.decode(errors='replace')[:500]}")
