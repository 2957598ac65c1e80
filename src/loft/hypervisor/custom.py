"""How an administrator writes down a custom resource that is to be synced: the words of our own kinds, as data.

These types say what can be written; `kinds/custom.py` makes a kind of it, or says what is wrong.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class CustomRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One field's rule; exactly one of the first nine is a path, such as `spec.{duration,usages}`."""

    copy: str = ""
    """The value crosses unchanged: a scalar, or a flat list or map of scalars."""
    ref: str = ""
    """The value names another object of the same namespace; see `kind`."""
    issued: str = ""
    """The value names a Secret that a controller of the host makes for the object; it is shown inside."""
    labels: str = ""
    """A map of labels that selects Pods."""
    label_selector: str = ""
    """A LabelSelector over Pods of the same namespace."""
    fixed: str = ""
    """The host's value is always `value`."""
    guard: str = ""
    """The value crosses when it is one of `oneOf`, or matches `pattern` as a whole; else the object is refused."""
    ignore: str = ""
    """The field stays inside."""
    text: str = ""
    """Status only: a message, in which names of the host become the tenant's."""
    kind: str = ""
    """For `ref`: `Secret`, `ConfigMap`, `Service`, … or `Kind.group` of another custom resource."""
    value: Any = msgspec.UNSET
    one_of: tuple[Any, ...] = ()
    pattern: str = ""
    why: str = ""
    """For `guard`: the rule that a refusal names."""


class CustomResource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One kind that is not Kubernetes' own."""

    group: str
    version: str
    kind: str
    plural: str
    direction: Literal["toHost", "fromHost"] = "toHost"
    """To the host are namespaced kinds; from the host cluster-scoped ones, read-only."""
    rules: tuple[CustomRule, ...] = ()
    status: tuple[CustomRule, ...] = ()
    """To the host only: what comes back."""
    status_subresource: bool = True
    """Whether the kind's definition has a status subresource."""
    names: tuple[str, ...] = ("*",)
    """From the host only: which objects are shown."""
