"""NetworkPolicy: goes to the host, where every peer is one of this virtual cluster's own pods, or an address range.

Host labels of a virtual namespace are its name only, so a namespaceSelector becomes the list of the namespaces that
it matches now; the plan is made anew when labels of namespaces change. Policies add up and none can forbid, so where
the platform has a boundary (`blocked_cidrs`), a tenant's rules are cut to what is outside of it: a rule for everybody
becomes one for the own pods, the API server, and the ranges that remain; and the Pods whose egress a tenant rules are
marked, so that the platform's policy, which allows more, does not select them.
Source: kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from loft.core.resource import NETWORKPOLICIES
from loft.core.selector import from_label_selector
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import ABSENT, At, Compute, Copy, Mapping, Refused
from loft.hypervisor.core.names import host_labels
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.translate import UNLISTED, label_selector, refuse

NO_NAMESPACE = "no_namespace"
"""A label value which no namespace can have for its name: a selector that matches none must not become one for all."""
EVERYWHERE = ("0.0.0.0/0", "::/0")
PEERS_MAX = 1000
_BLOCKED = "this range is inside of the platform's boundary, which no NetworkPolicy opens"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def selects_namespaces(policy: Object) -> bool:
    """Whether labels of namespaces decide what a policy means."""
    spec = objects.spec(policy)
    return any(
        peer.get("namespaceSelector")
        for field, side in (("ingress", "from"), ("egress", "to"))
        for rule in spec.get(field) or ()
        for peer in rule.get(side) or ()
    )


def rules_egress(policy: Object, pod: Object) -> bool:
    """Whether a policy rules the egress of a virtual Pod of its namespace."""
    spec = objects.spec(policy)
    directions = spec.get("policyTypes") or (["Egress"] if spec.get("egress") else [])
    try:
        return "Egress" in directions and from_label_selector(spec.get("podSelector") or {}).matches(
            objects.labels(pod)
        )
    except ValueError:
        return True


def ruled_labels(pod: Object, context: Context) -> dict[str, str]:
    """Return a Pod's host labels: the tenant's, and a mark where the tenant rules its egress.

    Policies add up: beside the platform's own policy, a narrower one of a tenant would change nothing.
    """
    mark = {objects.EGRESS_RULED: "true"} if context.egress_ruled else {}
    return host_labels(objects.labels(pod)) | mark


def subjects(value: Any, at: At) -> Object:
    """Return the selector of the pods that the policy is for, fenced into its namespace also when it is left out."""
    selector: Object = label_selector({} if value is ABSENT else value, at.scope, at.path)
    return selector


def peers(value: Any, at: At) -> Any:
    """Return who may be talked to; without any, everybody may, as far as the platform's boundary allows."""
    if value is ABSENT or not value:
        return _everybody(at) if at.scope.context.settings.blocked_cidrs else ABSENT
    if not isinstance(value, list) or len(value) > PEERS_MAX:
        raise Refused("", f"must be a list of at most {PEERS_MAX} peers")
    return [_peer(peer, At(f"{at.path}[{index}]", peer, at.scope)) for index, peer in enumerate(value)]


def _everybody(at: At) -> list[Object]:
    own = {objects.MANAGED_BY: at.scope.names.virtual_cluster}
    pods = [
        {"podSelector": {"matchLabels": labels}} for labels in (own, at.scope.context.settings.control_plane) if labels
    ]
    return [*pods, *({"ipBlock": _cut(ipaddress.ip_network(cidr), [], at)} for cidr in EVERYWHERE)]


def _peer(peer: Object, at: At) -> Object:
    for step in peer:
        if step not in ("podSelector", "namespaceSelector", "ipBlock"):
            refuse(at.scope, f"{at.path}.{step}", UNLISTED)
    if peer.get("ipBlock") is not None:
        return {"ipBlock": _block(peer["ipBlock"], at)}
    selector: Object = label_selector(peer.get("podSelector") or {}, at.scope, f"{at.path}.podSelector")
    elsewhere = peer.get("namespaceSelector")
    if elsewhere is None:
        return {"podSelector": selector}
    labels = {key: value for key, value in selector["matchLabels"].items() if key != objects.NAMESPACE}
    selector = selector | {"matchLabels": labels}
    if elsewhere:
        fence = {"key": objects.NAMESPACE, "operator": "In", "values": _matching(elsewhere, at)}
        selector["matchExpressions"] = [*selector.get("matchExpressions", ()), fence]
    return {"podSelector": selector}


def _matching(selector: Object, at: At) -> list[str]:
    try:
        wanted = from_label_selector(selector)
    except ValueError as error:
        raise Refused("", f"namespaceSelector cannot be read: {error}") from error
    found = [name for name, labels in at.scope.context.namespaces.items() if wanted.matches(labels)]
    return sorted(found) or [NO_NAMESPACE]


def _block(block: Object, at: At) -> Object:
    for step in block:
        if step not in ("cidr", "except"):
            refuse(at.scope, f"{at.path}.ipBlock.{step}", UNLISTED)
    try:
        network = ipaddress.ip_network(str(block.get("cidr")), strict=False)
        return _cut(network, [ipaddress.ip_network(str(item), strict=False) for item in block.get("except") or ()], at)
    except ValueError as error:
        raise Refused("", f"ipBlock cannot be read: {error}") from error


def _cut(network: Network, without: list[Network], at: At) -> Object:
    """Return the ipBlock of a range without others and without the platform's boundary."""
    for text in at.scope.context.settings.blocked_cidrs:
        blocked = ipaddress.ip_network(text)
        if _within(network, blocked):
            refuse(at.scope, f"{at.path}.ipBlock.cidr", _BLOCKED)
        elif _within(blocked, network):
            without = [*(item for item in without if not _within(item, blocked)), blocked]
    excepted = list(dict.fromkeys(str(item) for item in without))
    return {"cidr": str(network)} | ({"except": excepted} if excepted else {})


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


NETWORKPOLICY = Mapping(
    resource=NETWORKPOLICIES,
    to_host=(
        Compute("spec.podSelector", subjects),
        Copy("spec.policyTypes"),
        Compute("spec.ingress[*].from", peers),
        Compute("spec.egress[*].to", peers),
        Copy("spec.{ingress,egress}[*].ports[*].{protocol,port,endPort}"),
    ),
    whole=True,
)
