"""The vocabulary in which a kind says what crosses between virtual and host object.

A kind is a list of rules, each naming one path: `spec.ports[*].{name,port}` stands for two paths below every
item. Rules are compiled into a tree which one walk over the object follows, so a path nobody lists cannot
cross, at any depth: a Copy carries a scalar, or a flat list or map of scalars, nothing deeper.

Eight rule types and no more; what they cannot say is a named pure function in a Compute.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from typing import Any

from loft.core.action import PatchKind
from loft.core.resource import Resource
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step


class _Absent:
    """The type of ABSENT."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Any = _Absent()
"""No value at this path; unlike None it is not a JSON value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A tenant's field that may not cross, and the rule that says so."""

    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class Refused(Exception):
    """Raised by a Compute for a value that may not cross; `field` is relative to the rule's path."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


@dataclasses.dataclass(slots=True)
class Scope:
    """One translation: whose object, into which names, with which facts; refusals are collected here."""

    names: Names
    context: Context
    source: Object
    namespace: str
    """The virtual namespace of the object."""
    strict: bool = True
    """Whether a field nobody lists is refused (towards the host) or left out in silence (towards the tenant)."""
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    peer: Object = dataclasses.field(default_factory=dict)
    """Back-sync: the virtual object that is about to be changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class At:
    """Where a Compute stands: its path, the dict that holds the value, and the translation."""

    path: str
    parent: Object
    scope: Scope


Function = Callable[[Any, At], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """The value crosses unchanged."""

    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ref:
    """The value is the name of another synced object of the same namespace: it becomes the host name."""

    path: str
    kind: str = ""
    """Its kind, where its host name may be another than usual (Service), or it is on the host only when used."""
    issued: bool = False
    """The object is a Secret that a controller of the host makes; it is shown inside, see core/issued.py."""


@dataclasses.dataclass(frozen=True, slots=True)
class Labels:
    """A map of labels that selects Pods: keys are translated and the tenant's namespace is added."""

    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class LabelSelector:
    """A LabelSelector object over Pods of the same namespace, translated and fenced in like Labels."""

    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    """The host's value is always this, whatever the tenant says."""

    path: str
    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """The value crosses when `allowed(value)`; otherwise the object is refused, naming field and rule."""

    path: str
    allowed: Callable[[Any], bool]
    rule: str
    lifted_by: str = ""
    """The Pod Security level at which the host's owner allows every value here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ignore:
    """The field is known and stays inside on purpose: it means nothing on the host, or we decide it there."""

    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Compute:
    """The value is `function(value, at)`; it is called with ABSENT too and may return ABSENT or raise Refused."""

    path: str
    function: Function


Rule = Copy | Ref | Labels | LabelSelector | Fixed | Guard | Ignore | Compute


@dataclasses.dataclass(slots=True)
class Node:
    """One step of the rule tree: children of a dict, or the item rule of a list, or a rule at the end."""

    children: dict[str, Node] = dataclasses.field(default_factory=dict)
    items: Node | None = None
    rule: Rule | None = None
    always: tuple[str, ...] = ()
    """Children to visit though the source lacks them, since something below is fixed or computed."""


_STEP = re.compile(r"([^.\[\]]+)((?:\[\*\])?)")
_BRACES = re.compile(r"\{([^{}]*)\}")


def expand(path: str) -> list[str]:
    """Return the paths that `a.{b,c}.d` stands for."""
    parts = _BRACES.split(path)
    choices = [part.split(",") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def compile_rules(rules: tuple[Rule, ...]) -> Node:
    """Return the rule tree.

    Raises: ValueError when two rules own one path: every field has one owner.
    """
    root = Node()
    for rule in rules:
        for path in expand(rule.path):
            _insert(root, path, rule)
    _mark_always(root)
    return root


def _insert(root: Node, path: str, rule: Rule) -> None:
    node = root
    for step, star in _STEP.findall(path):
        if node.rule is not None:
            raise ValueError(f"{path}: a rule above owns this field")
        node = node.children.setdefault(step, Node())
        if star:
            node.items = node.items or Node()
            node = node.items
    if node.rule is not None or node.children or node.items:
        raise ValueError(f"{path}: two rules own this field")
    node.rule = rule


def _mark_always(node: Node) -> bool:
    """Set `always` below; return whether the node must be visited though absent."""
    if node.items is not None:
        _mark_always(node.items)
        return False
    node.always = tuple([step for step, child in node.children.items() if _mark_always(child)])
    return bool(node.always) or isinstance(node.rule, Fixed | Compute)


def _named(rules: tuple[Rule, ...], *, issued: bool = False) -> tuple[Rule, ...]:
    return tuple([rule for rule in rules if isinstance(rule, Ref) and rule.kind and rule.issued == issued])


def owned_paths(node: Node, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths that the tree owns as a whole: its leaves, cut at the first list."""
    if not node.children:
        return [] if isinstance(node.rule, Ignore) else [prefix]
    return [path for step, child in node.children.items() for path in owned_paths(child, (*prefix, step))]


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotationRules:
    """Which of a tenant's annotations keep their meaning on the host. Others stay inside."""

    crossing: dict[str, Function]
    """By key: what the value becomes there; called with the value, may raise Refused."""
    refused: re.Pattern[str]
    """Keys of others, by which a controller of the host would be told something: refused by name."""
    rule: str


def always(virtual: Object, context: Context) -> bool:
    """Sync every object of the kind."""
    return True


Lifecycle = Callable[["Pair"], "list[Step] | None"]
"""A kind's own course of life: steps, or None when the ordinary course applies now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """The two sides of one object as last seen, and the facts around them."""

    virtual: Object
    host: Object | None
    names: Names
    context: Context
    in_step: bool = False
    """Whether the host object says all that the virtual one asks for, so that what was observed there counts here."""


References = Callable[[Object], "list[tuple[str, str]]"]
"""Virtual object -> (kind, name) of what it uses in its namespace, each once."""

HostPatch = tuple[PatchKind, str, Object]
"""How to patch, which subresource, the patch."""

Update = Callable[[Object, Object, "Mapping"], list[HostPatch]]
"""(wanted body, host object, mapping) -> patches still needed, in order."""


@dataclasses.dataclass(frozen=True, slots=True)
class Mapping:
    """One kind: who may write each field, what is renamed, what is fenced in, what is refused."""

    resource: Resource
    to_host: tuple[Rule, ...]
    to_virtual: tuple[Rule, ...] = ()
    labels: Callable[[Object, Context], dict[str, str]] | None = None
    """Host labels beside the marks; by default the tenant's labels under translated keys."""
    annotations: Callable[[Object], dict[str, str]] | None = None
    """Host annotations beside the marks; none by default."""
    crossing: AnnotationRules | None = None
    """Tenants' annotations that cross under their own keys; none by default."""
    wanted: Callable[[Object, Context], bool] = always
    lifecycle: Lifecycle | None = None
    update: Update | None = None
    """How an existing host object is changed, for kinds that are mostly immutable; a merge patch by default."""
    checks: Callable[[Object, Context], list[Refusal]] | None = None
    """Rules over a whole object, which no rule about one field can say."""
    at_creation: Callable[[Object, Pair], Object] | None = None
    """The host body as it is when the object is created: less than is wanted later, or with what only then can come."""
    orphan_grace_s: int | None = None
    """Grace period of a host object whose virtual object is gone; the object's own by default."""
    adopts: Callable[[Object, Object], bool] | None = None
    """Whether a host object without an owner is the one made beforehand for this virtual object."""
    refused_status: Callable[[Object, str], Object | None] | None = None
    """The status patch that shows a refusal on the virtual object, None when it is there already."""
    back: Lifecycle | None = None
    """How the host's fields come back, for kinds whose lists are merged; a merge patch by default."""
    digested: Callable[[Object], Any] | None = None
    """The part of a host body whose change is a change of the tenant's wish; the whole by default."""
    references: References | None = None
    """What an object of the kind uses, beside what its Ref rules say."""
    issues: Callable[[Object], list[str]] | None = None
    """Names of Secrets that a controller of the host makes for an object, beside what its Ref rules say."""
    whole: bool = False
    """An object of which a part may not cross stays on the host as it was: that part could be what limits it."""
    status_subresource: bool = True
    """Whether the status inside is written by a subresource of its own."""
    seen_virtual: str = ""
    """Label selector of the virtual objects that are looked at; all by default."""
    seen_host: str = ""
    """Label selector of the host objects that are looked at, beside our own label."""
    gated: bool = False
    """Whether the host may lack the kind, or the right to it: all else goes on meanwhile."""
    closed: bool = False
    """What is refused of an object is replaced by what allows nothing: the rest crosses, also the first time."""
    name: str = ""
    """How the kind is called among the synced kinds; by default its Kubernetes kind."""
    named: Callable[[Object, Context], str] | None = None
    """The host object's name, where somebody chose it; by default one that no other virtual object gets."""
    host_tree: Node = dataclasses.field(init=False)
    virtual_tree: Node = dataclasses.field(init=False)
    named_tree: Node = dataclasses.field(init=False)
    """The part of host_tree that names other objects with their kind."""
    issued_tree: Node = dataclasses.field(init=False)
    """The part of host_tree that names Secrets which a controller of the host makes."""
    owned: tuple[tuple[str, ...], ...] = dataclasses.field(init=False)
    owned_back: tuple[tuple[str, ...], ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        tree = compile_rules(self.to_host)
        object.__setattr__(self, "host_tree", tree)
        object.__setattr__(self, "named_tree", compile_rules(_named(self.to_host)))
        object.__setattr__(self, "issued_tree", compile_rules(_named(self.to_host, issued=True)))
        object.__setattr__(self, "virtual_tree", compile_rules(self.to_virtual))
        object.__setattr__(self, "owned", tuple(owned_paths(tree)))
        object.__setattr__(self, "owned_back", tuple(owned_paths(self.virtual_tree)))

    @property
    def is_issuing(self) -> bool:
        """Whether objects of the kind can name Secrets that a controller of the host makes."""
        return self.issues is not None or bool(self.issued_tree.children)

    @property
    def kind(self) -> str:
        """The Kubernetes kind."""
        return self.resource.kind

    @property
    def key(self) -> str:
        """The kind's key among the synced kinds; host objects tell by it what they were made for."""
        return self.name or self.resource.kind
