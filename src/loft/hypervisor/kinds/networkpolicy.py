"""NetworkPolicy: goes to the host, where every peer is one of this virtual cluster's own pods, or an address range.

Host labels of a virtual namespace are its name only, so a namespaceSelector becomes the list of the namespaces that
it matches now; the plan is made anew when labels of namespaces change. Policies add up and none can forbid, so where
the platform has a boundary (`blocked_cidrs`), a tenant's rules are cut to what is outside of it: a rule for everybody
becomes one for the own pods, the API server, and the ranges that remain; and the Pods whose egress a tenant rules are
marked, so that the platform's policy, which allows more, does not select them.

A policy that is not on the host allows everything. So one of which a part is refused crosses all the same, with that
part allowing nothing.
Source: kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from loft.core.resource import NETWORKPOLICIES
from loft.core.selector import from_label_selector
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import ABSENT, At, Compute, Mapping, Refused
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


def policy(value: Any, at: At) -> Object:
    """Return the policy on the host; it crosses always, and what is refused of it allows nothing."""
    spec: Object = {} if value is ABSENT else value
    is_known = _only(spec, ("podSelector", "policyTypes", "ingress", "egress"), at)
    # Fenced into its namespace, also when it is left out.
    result: Object = {"podSelector": label_selector(spec.get("podSelector") or {}, at.scope, f"{at.path}.podSelector")}
    if spec.get("policyTypes"):
        result["policyTypes"] = spec["policyTypes"]
    for direction, side in (("ingress", "from"), ("egress", "to")):
        if spec.get(direction):
            places = [At(f"{at.path}.{direction}[{n}]", item, at.scope) for n, item in enumerate(spec[direction])]
            result[direction] = [_rule(place, side, is_known) for place in places]
    return result


def _rule(at: At, side: str, is_known: bool) -> Object:
    given = at.parent
    # What nobody knows here could have narrowed the rule.
    is_known = _only(given, (side, "ports"), at) and is_known
    ports = [
        _port(port, At(f"{at.path}.ports[{n}]", port, at.scope)) for n, port in enumerate(given.get("ports") or ())
    ]
    allowed = _peers(given.get(side) or [], At(f"{at.path}.{side}", given, at.scope))
    if not is_known or None in ports:
        allowed, ports = [_nobody(at)], []
    return ({side: allowed} if allowed else {}) | ({"ports": ports} if ports else {})


def _port(port: Object, at: At) -> Object | None:
    return port if _only(port, ("protocol", "port", "endPort"), at) else None


def _only(given: Object, known: tuple[str, ...], at: At) -> bool:
    """Whether an object has known fields only; others are refused."""
    unknown = [step for step in given if step not in known and given[step] is not None]
    for step in unknown:
        refuse(at.scope, f"{at.path}.{step}", UNLISTED)
    return not unknown


def _nobody(at: At) -> Object:
    return {"podSelector": {"matchLabels": at.scope.names.selector(NO_NAMESPACE)}}


def _peers(given: list[Object], at: At) -> list[Object]:
    """Return who may be talked to; none are everybody, as far as the platform's boundary allows."""
    if not given:
        return _everybody(at) if at.scope.context.settings.blocked_cidrs else []
    if len(given) > PEERS_MAX:
        refuse(at.scope, at.path, f"must be a list of at most {PEERS_MAX} peers")
        return [_nobody(at)]
    return [_peer(peer, At(f"{at.path}[{index}]", peer, at.scope)) for index, peer in enumerate(given)]


def _everybody(at: At) -> list[Object]:
    settings = at.scope.context.settings
    own = {objects.MANAGED_BY: at.scope.names.virtual_cluster}
    pods = [{"podSelector": {"matchLabels": labels}} for labels in (own, settings.control_plane) if labels]
    ranges = [_cut(ipaddress.ip_network(cidr), [], settings.blocked_cidrs) for cidr in EVERYWHERE]
    return [*pods, *({"ipBlock": block} for block in ranges if block)]


def _peer(peer: Object, at: At) -> Object:
    is_known = _only(peer, ("podSelector", "namespaceSelector", "ipBlock"), at)
    try:
        found = {"ipBlock": _block(peer["ipBlock"], at)} if peer.get("ipBlock") is not None else _pods(peer, at)
    except Refused as refused:
        refuse(at.scope, at.path + refused.field, refused.rule)
        return _nobody(at)
    return found if is_known else _nobody(at)


def _pods(peer: Object, at: At) -> Object:
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
    if not _only(block, ("cidr", "except"), At(f"{at.path}.ipBlock", block, at.scope)):
        raise Refused(".ipBlock", "must have cidr and except only")
    try:
        network = ipaddress.ip_network(str(block.get("cidr")), strict=False)
        without = [ipaddress.ip_network(str(item), strict=False) for item in block.get("except") or ()]
    except ValueError as error:
        raise Refused(".ipBlock", f"cannot be read: {error}") from error
    cut = _cut(network, without, at.scope.context.settings.blocked_cidrs)
    if cut is None:
        raise Refused(".ipBlock.cidr", _BLOCKED)
    return cut


def _cut(network: Network, without: list[Network], boundary: tuple[str, ...]) -> Object | None:
    """Return the ipBlock of a range without others and without the boundary, None when nothing of it is left."""
    for blocked in map(ipaddress.ip_network, boundary):
        if _within(network, blocked):
            return None
        if _within(blocked, network):
            without = [*(item for item in without if not _within(item, blocked)), blocked]
    excepted = list(dict.fromkeys(str(item) for item in without))
    return {"cidr": str(network)} | ({"except": excepted} if excepted else {})


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


NETWORKPOLICY = Mapping(resource=NETWORKPOLICIES, to_host=(Compute("spec", policy),), closed=True)
