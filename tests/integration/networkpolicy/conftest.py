"""A node with pods made of network namespaces, wired like the `ptp` plugin does it; the machine's own is left alone."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loft.embedded.addons.policyrules import ruleset

NETWORK = "10.201.0.0/16"
GATEWAY = "10.201.4.1"
NODE = "10.201.0.1"
SERVICE = "10.201.8.10"
"""Leads to web, as kube-proxy does it: translated before the forward hook, a pod's way to itself masqueraded."""
SERVICES = f"""\
table ip services {{
  chain there {{
    type nat hook prerouting priority dstnat;
    ip daddr {SERVICE} dnat to 10.201.4.2
  }}
  chain itself {{
    type nat hook postrouting priority srcnat;
    ip saddr 10.201.4.2 ip daddr 10.201.4.2 masquerade
  }}
}}
"""
OUTSIDE = {"near": "192.0.2.10", "hole": "192.0.2.130"}
PORTS = (80, 81, 90, 8080)
PODS = {
    "web": ("10.201.4.2", "shop", {"app": "web"}),
    "db": ("10.201.4.3", "shop", {"app": "db"}),
    "job": ("10.201.4.4", "shop", {"app": "job"}),
    "spy": ("10.201.4.5", "other", {"app": "web"}),
}
NAMESPACES = {"shop": {"team": "a"}, "other": {"team": "b"}}


def run(*words, stdin=""):
    result = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, f"{' '.join(words)}: {result.stderr}"
    return result.stdout


class Agent:
    """One process in a namespace."""

    def __init__(self, namespace, ports):
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, Path(__file__).with_name("agent.py"), json.dumps(ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    def start(self, *command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self):
        return json.loads(self._process.stdout.readline())

    def ask(self, *command):
        self.start(*command)
        return self.answer()

    def close(self):
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Node:
    """The node's namespace, its pods, and a machine outside."""

    def __init__(self):
        self._prefix = f"lnp{os.getpid() % 100000}"
        self.agents = {}
        self.addresses = (
            {name: address for name, (address, _, _) in PODS.items()} | OUTSIDE | {"node": NODE, "service": SERVICE}
        )
        self._names = []

    def up(self):
        node = self._add("node")
        self._in(node, "ip", "link", "set", "lo", "up")
        self._in(node, "ip", "link", "add", "loft0", "type", "bridge")
        self._in(node, "ip", "addr", "add", f"{NODE}/32", "dev", "loft0")
        self._in(node, "ip", "link", "set", "loft0", "up")
        self._in(node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number, (name, (address, _, _)) in enumerate(PODS.items()):
            self._join(node, name, f"veth{number}", [address])
        self._join(node, "out", "ext0", list(OUTSIDE.values()))
        run("ip", "netns", "exec", node, "nft", "-f", "-", stdin=SERVICES)
        self.agents["node"] = Agent(node, PORTS)

    def down(self):
        for agent in self.agents.values():
            agent.close()
        for name in reversed(self._names):
            subprocess.run(["ip", "netns", "delete", name], check=False, timeout=20)

    def enforce(self, policies, pods=None):
        """Load the rules for policies; `pods` replaces the pods as the API server would show them."""
        namespaces = [{"metadata": {"name": name, "labels": labels}} for name, labels in NAMESPACES.items()]
        text = ruleset("t", policies, shown() if pods is None else pods, namespaces, network=NETWORK)
        run("ip", "netns", "exec", f"{self._prefix}-node", "nft", "-f", "-", stdin=text)

    def reaching(self, sources, target, port, protocol="tcp"):
        """Return which of the sources get a connection (or a datagram and its answer) through to the target."""
        return self._through([(source, target) for source in sources], port, protocol, 0)

    def reached(self, source, targets, port, protocol="tcp"):
        """Return which of the targets the source gets through to."""
        return self._through([(source, target) for target in targets], port, protocol, 1)

    def try_(self, source, target, port, protocol="tcp"):
        """Return whether a connection gets through."""
        return bool(self.reaching([source], target, port, protocol))

    def _through(self, pairs, port, protocol, side):
        asked = {}
        for pair in pairs:
            asked.setdefault("out" if pair[0] in OUTSIDE else pair[0], []).append(pair)
        for sender, mine in asked.items():
            tries = [(self.addresses[target], port, OUTSIDE.get(source, "")) for source, target in mine]
            self.agents[sender].start("reach", protocol, tries)
        answers = [(mine, self.agents[sender].answer()) for sender, mine in asked.items()]
        return {pair[side] for mine, found in answers for pair, answer in zip(mine, found, strict=True) if answer}

    def borrow(self, pod, address):
        """Give a pod an address that is not its own."""
        self._in(f"{self._prefix}-{pod}", "ip", "addr", "replace", f"{address}/32", "dev", "lo")

    def give_back(self, pod, address):
        """Take it away."""
        self._in(f"{self._prefix}-{pod}", "ip", "addr", "del", f"{address}/32", "dev", "lo")

    def _add(self, name):
        full = f"{self._prefix}-{name}"
        run("ip", "netns", "add", full)
        self._names.append(full)
        return full

    def _join(self, node, name, device, addresses):
        pod = self._add(name)
        run("ip", "link", "add", device, "netns", node, "type", "veth", "peer", "name", "eth0", "netns", pod)
        self._in(pod, "ip", "link", "set", "lo", "up")
        self._in(pod, "ip", "link", "set", "eth0", "up")
        self._in(node, "ip", "link", "set", device, "up")
        self._in(node, "ip", "addr", "add", f"{GATEWAY}/32", "dev", device)
        for address in addresses:
            self._in(pod, "ip", "addr", "add", f"{address}/32", "dev", "eth0")
            self._in(node, "ip", "route", "add", address, "dev", device)
        self._in(pod, "ip", "route", "add", GATEWAY, "dev", "eth0")
        self._in(pod, "ip", "route", "add", "default", "via", GATEWAY)
        self.agents[name] = Agent(pod, PORTS)

    def _in(self, namespace, *words):
        run("ip", "netns", "exec", namespace, *words)


def shown():
    """Return the pods as the API server shows them."""
    return [
        {
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": address, "phase": "Running"},
        }
        for name, (address, namespace, labels) in PODS.items()
    ]


@pytest.fixture(scope="module")
def node():
    if os.geteuid() != 0:
        pytest.fail("network namespaces need root", pytrace=False)
    made = Node()
    with contextlib.ExitStack() as stack:
        stack.callback(made.down)
        made.up()
        yield made
