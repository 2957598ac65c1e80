"""Where a Pod may run: node selection crosses, Pod selection is fenced into the tenant's own Pods.

Taints keep infrastructure nodes apart, therefore tolerations are the field with power; selectors are not. Where a
scheduler inside has found the node, the host is told that node only: the choice was made among virtual Nodes, whose
labels and further resources may be the tenant's own.
"""

from __future__ import annotations

from typing import Any

from loft.core.selector import from_label_selector
from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import (
    ABSENT,
    At,
    Compute,
    Copy,
    Ignore,
    LabelSelector,
    Refused,
    Rule,
    Scope,
    compile_rules,
)
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.translate import UNLISTED, flat, label_selector, refuse, walk

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NODE = "spec.affinity.nodeAffinity"
_POD = "spec.affinity.{podAffinity,podAntiAffinity}"
_SPREAD = "topologySpreadConstraints[*]"

DEFAULT_SCHEDULER = "default-scheduler"
NO_NAMESPACE = ""
"""A value that no virtual namespace has."""
_MERGED = frozenset({"matchLabelKeys", "mismatchLabelKeys"})
"""The virtual API server has merged these into the labelSelector already (KEP-3633)."""


def is_placed(scope: Scope) -> bool:
    """Whether a scheduler inside has said where the Pod runs."""
    return scope.context.settings.scheduler and bool(objects.spec(scope.source).get("nodeName"))


def node_selector(value: Any, at: At) -> Any:
    """Return the labels that a node must have, none when the node is known."""
    crossed = flat(value, at)
    return ABSENT if is_placed(at.scope) else crossed


def required_affinity(value: Any, at: At) -> Any:
    """Return an affinity term that must be met, none when the node is known."""
    crossed = affinity_term(value, at)
    return ABSENT if is_placed(at.scope) else crossed


def spread(value: Any, at: At) -> Any:
    """Return how Pods are spread, nothing when the node is known."""
    if value is ABSENT:
        return ABSENT
    crossed = walk(_SPREAD_RULES, {"topologySpreadConstraints": value}, at.scope, "spec")
    return ABSENT if is_placed(at.scope) else crossed.get("topologySpreadConstraints", ABSENT)


def amounts(value: Any, at: At) -> Any:
    """Return resources of a container, without those that the Pod's Node has inside only.

    An administrator inside may give virtual Nodes resources of their own; a scheduler inside counts them.
    """
    crossed = flat(value, at)
    own = at.scope.context.inner_resources
    return {name: amount for name, amount in crossed.items() if name not in own} if own and crossed else crossed


def affinity_term(value: Any, at: At) -> Any:
    """Return a Pod affinity term over the same virtual namespaces, all of which are in one host namespace.

    A selector of namespaces becomes the list of those that it matches now: affinity counts while a Pod is scheduled,
    which begins at once.
    """
    if value is ABSENT:
        return ABSENT
    result: Object = {"topologyKey": value.get("topologyKey")}
    for step in value:
        if step not in ("topologyKey", "labelSelector", "namespaces", "namespaceSelector") and step not in _MERGED:
            refuse(at.scope, f"{at.path}.{step}", UNLISTED)
    if value.get("labelSelector") is None:
        return result
    selector = label_selector(value["labelSelector"], at.scope, f"{at.path}.labelSelector")
    namespaces = value.get("namespaces") or []
    everywhere = value.get("namespaceSelector")
    if namespaces or everywhere is not None:
        labels = {k: v for k, v in selector["matchLabels"].items() if k != objects.NAMESPACE}
        selector = selector | {"matchLabels": labels}
    if everywhere or (namespaces and everywhere is None):
        chosen = sorted({*namespaces, *_selected(everywhere, at)}) or [NO_NAMESPACE]
        fence = {"key": objects.NAMESPACE, "operator": "In", "values": chosen}
        selector["matchExpressions"] = [*selector.get("matchExpressions", ()), fence]
    return result | {"labelSelector": selector}


def _selected(selector: Any, at: At) -> list[str]:
    """Return the namespaces that a namespaceSelector matches. Raises: Refused."""
    if not selector:
        return []
    try:
        wanted = from_label_selector(selector)
    except ValueError as error:
        raise Refused(".namespaceSelector", f"cannot be read: {error}") from error
    return [name for name, labels in at.scope.context.namespaces.items() if wanted.matches(labels)]


def reaches_namespaces(pod: Object) -> bool:
    """Whether labels of namespaces decide where a Pod may run."""
    affinity = objects.spec(pod).get("affinity") or {}
    parts = [affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}]
    terms = [term for part in parts for term in part.get(_REQUIRED) or ()]
    terms += [item.get("podAffinityTerm") or {} for part in parts for item in part.get(_PREFERRED) or ()]
    return any(term.get("namespaceSelector") for term in terms)


def tolerations(value: Any, at: At) -> Any:
    """Return the tolerations that the host allows; others stay inside, where they do no harm."""
    if value is ABSENT:
        return ABSENT
    allowed = at.scope.context.settings.tolerations
    fields = ("key", "operator", "value", "effect", "tolerationSeconds")
    kept = [
        {field: item[field] for field in fields if item.get(field) is not None}
        for item in value
        if any(
            item.get("key") == key or (key.endswith("/") and str(item.get("key") or "").startswith(key))
            for key in allowed
        )
    ]
    return kept or ABSENT


def node_terms(value: Any, at: At) -> Any:
    """Return the terms of which a node must meet one, each narrowed to the node that the Pod has inside already.

    A node's name never crosses as such: that would go past the host's scheduler, and so past taints and room. As a
    requirement it is weighed there like any other.
    """
    name = objects.spec(at.scope.source).get("nodeName")
    terms = [_node_term(term, f"{at.path}[{index}]", at) for index, term in enumerate(value or ())]
    if not name:
        return terms or ABSENT
    here: Object = {"key": "metadata.name", "operator": "In", "values": [name]}
    if not terms or is_placed(at.scope):
        return [{"matchFields": [here]}]
    # A term without requirements matches no node, and must not begin to match one.
    return [term and term | {"matchFields": [*term.get("matchFields", ()), here]} for term in terms]


def _node_term(value: Any, path: str, at: At) -> Object:
    term: Object = {}
    for step, items in value.items():
        if step not in ("matchExpressions", "matchFields"):
            refuse(at.scope, f"{path}.{step}", UNLISTED)
            continue
        fields = ("key", "operator", "values")
        term[step] = [{field: item[field] for field in fields if field in item} for item in items or ()]
    return {step: items for step, items in term.items() if items}


def scheduler_name(value: Any, at: At) -> Any:
    """Name no scheduler to the host: its default one places every Pod.

    Inside, the Pod may wait for any scheduler of the tenant's where the tenant has the say about placement.
    """
    if value is ABSENT or value == DEFAULT_SCHEDULER or at.scope.context.settings.scheduler:
        return ABSENT
    raise Refused("", "only the host cluster's default scheduler places pods (scheduler.enabled is off)")


_SPREAD_RULES = compile_rules(
    (
        Copy(_SPREAD + ".{maxSkew,topologyKey,whenUnsatisfiable,minDomains,nodeAffinityPolicy,nodeTaintsPolicy}"),
        LabelSelector(_SPREAD + ".labelSelector"),
        Ignore(_SPREAD + ".matchLabelKeys"),
    )
)

PLACEMENT: tuple[Rule, ...] = (
    Ignore("spec.nodeName"),
    Compute("spec.schedulerName", scheduler_name),
    Compute("spec.nodeSelector", node_selector),
    Compute(f"{_NODE}.{_REQUIRED}.nodeSelectorTerms", node_terms),
    Copy(f"{_NODE}.{_PREFERRED}[*].weight"),
    Copy(f"{_NODE}.{_PREFERRED}[*].preference.{{matchExpressions,matchFields}}[*].{{key,operator,values}}"),
    Compute(f"{_POD}.{_REQUIRED}[*]", required_affinity),
    Copy(f"{_POD}.{_PREFERRED}[*].weight"),
    Compute(f"{_POD}.{_PREFERRED}[*].podAffinityTerm", affinity_term),
    Compute("spec.tolerations", tolerations),
    Compute("spec.topologySpreadConstraints", spread),
)
