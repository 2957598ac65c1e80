"""How it is written down which Services of the host are shown inside, and which of those inside are found outside.

Tenants write it. Which namespaces of the host may be named beside the virtual cluster's own is the administrator's to
say (chart value `hostServices`): the chart refuses others, and gives the right to read the named Services alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from loft.hypervisor.core.names import SEPARATOR

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
KEPT = ("default/kubernetes", "kube-system/loft-hypervisor")
"""Services inside that are the virtual cluster's own."""


class MappedError(ValueError):
    """A mapping cannot be followed; the message says which and why."""


class MappedService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Service that is found on the other side under another name."""

    source: str = msgspec.field(name="from")
    """`NAMESPACE/NAME` where the Service is."""
    target: str = msgspec.field(name="to")
    """Where it is found: `NAMESPACE/NAME` inside, or a name in the virtual cluster's namespace of the host."""


def check(from_host: Iterable[MappedService], from_virtual: Iterable[MappedService]) -> None:
    """Look whether mappings can be followed together. Raises: MappedError."""
    from_host, from_virtual = [*from_host], [*from_virtual]
    for item in from_host:
        _check_key("mapServices.fromHost: from", item.source)
        _check_key("mapServices.fromHost: to", item.target)
        if item.target in KEPT:
            raise MappedError(f"mapServices.fromHost: to {item.target} is the virtual cluster's own Service")
    for item in from_virtual:
        _check_key("mapServices.fromVirtual: from", item.source)
        if not _NAME.fullmatch(item.target) or SEPARATOR in item.target:
            raise MappedError(
                f"mapServices.fromVirtual: to {item.target!r} is not a Service's name without {SEPARATOR!r}, "
                "which names of synced objects have"
            )
        if item.source in KEPT:
            raise MappedError(f"mapServices.fromVirtual: from {item.source} is the virtual cluster's own Service")
    _check_once("mapServices.fromHost: to", (item.target for item in from_host))
    # Two Services of one cluster never have one address.
    _check_once("mapServices.fromHost: from", (item.source for item in from_host))
    _check_once("mapServices.fromVirtual: to", (item.target for item in from_virtual))


def _check_key(field: str, key: str) -> None:
    namespace, _, name = key.partition("/")
    if not _NAMESPACE.fullmatch(namespace) or not _NAME.fullmatch(name):
        raise MappedError(f"{field} {key!r} is not NAMESPACE/NAME of a Service")


def _check_once(field: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise MappedError(f"{field} {', '.join(twice)} is there twice")
