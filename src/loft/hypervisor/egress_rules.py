"""What the virtual API server may connect to: its own virtual nodes, pods, services and our webhook, nothing else.

Tenants are cluster-admin inside: by webhooks, APIServices, proxies and Nodes of their own making they can tell the
API server to connect anywhere. It has no other way out than the hypervisor's egress proxy, which asks here. What a
tenant writes decides nothing: addresses are believed only from host objects that carry this virtual cluster's mark.
Pure.
"""

from __future__ import annotations

import ipaddress
from typing import Literal

import msgspec

LOOPBACK = "127.0.0.1"
HYPERVISOR_HOST = "hypervisor.invalid"
"""This process by name, for backends that need a Service; nobody's DNS resolves the name (RFC 6761)."""


class Refused(Exception):
    """The target may not be reached; the message says why."""


class Target(msgspec.Struct, frozen=True):
    """Where the API server wants to connect to; `address` is an IP address in its usual spelling, or ourselves."""

    address: str
    port: int


class Known(msgspec.Struct, frozen=True):
    """What is known about a target address."""

    is_node: bool = False
    """InternalIP of a virtual node that stands for a host node."""
    is_pod: bool = False
    """Address of a synced pod with a network of its own."""
    is_service: bool = False
    """ClusterIP of a synced service."""


Way = Literal["kubelet", "webhook", "metrics", "dial"]


def parse_target(authority: str) -> Target:
    """Read the target of a CONNECT request.

    Raises: Refused for anything but an IP address (or ourselves) and a port: a name would be looked up with the
    host's DNS, by whoever controls it.
    """
    host, _, port = authority.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not 0 < number < 65536:
        raise Refused("the port is not a number from 1 to 65535")
    if host == HYPERVISOR_HOST:
        return Target(host, number)
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError as error:
        raise Refused("only IP addresses can be reached") from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return Target(str(address), number)


def route(target: Target, known: Known, *, kubelet_port: int, webhook_port: int, metrics_port: int) -> Way:
    """Return by which way a target is served.

    Nodes come first: a pod on the host network has its node's address, and nothing of a node but the kubelet API,
    which is answered in this process, can ever be reached.
    Raises: Refused.
    """
    if target.address == LOOPBACK and target.port == webhook_port:
        return "webhook"
    if target.address == HYPERVISOR_HOST:
        if target.port == metrics_port:
            return "metrics"
        raise Refused("the hypervisor serves metrics only by this name")
    if known.is_node:
        if target.port == kubelet_port:
            return "kubelet"
        raise Refused("only the kubelet API of a node can be reached")
    address = ipaddress.ip_address(target.address)
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise Refused("loopback, link-local and multicast addresses cannot be reached")
    if known.is_pod or known.is_service:
        return "dial"
    raise Refused("not a pod or service of this virtual cluster")
