"""Which host object belongs to a virtual object: by reservation, else by uid, else what stands in its way.

Pure; the caches only collect the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import Mapping
from loft.hypervisor.core.names import Names, host_name
from loft.hypervisor.core.objects import Object


class Paired(msgspec.Struct, frozen=True):
    """One virtual object and what the host has for it."""

    virtual: Object | None
    host: Object | None
    stale: list[Object]
    """Further host objects made for earlier virtual objects of this key; they must go."""


def belongs(mapping: Mapping, virtual: Object, host: Object) -> bool:
    """Whether a host object is that of this very virtual object: by its uid, else by what was reserved for it."""
    owner = objects.owner_uid(host)
    if owner:
        return owner == objects.uid(virtual)
    return mapping.adopts is not None and mapping.adopts(virtual, host)


def pair(
    mapping: Mapping, virtual: Object | None, made: Sequence[Object], reserved: Sequence[Object], names: Names
) -> Paired:
    """Return the pair of one key.

    Args:
        mapping: the kind.
        virtual: the virtual object of the key, None when it is gone.
        made: host objects marked as made for this kind and key, whatever the uid.
        reserved: host objects without an owner that could have been made beforehand for it.
        names: host names.
    """
    if virtual is None:
        return Paired(None, None, [host for host in made if objects.owner_uid(host)])
    own = [host for host in made if objects.owner_uid(host) == objects.uid(virtual)]
    own.sort(key=objects.is_deleting)
    stale = [host for host in made if objects.owner_uid(host) not in ("", objects.uid(virtual))]
    if mapping.adopts is not None:
        # What was reserved holds something that only one host object can have (a Service's address): a host object
        # made for this one before it was reserved, when it needed none, has to give way.
        for host in reserved:
            if belongs(mapping, virtual, host):
                return Paired(virtual, host, [*own, *stale])
    if own:
        return Paired(virtual, own[0], [*own[1:], *stale])
    name = host_name(virtual, names)
    in_the_way = [host for host in stale if objects.name(host) == name]
    if in_the_way:
        return Paired(virtual, in_the_way[0], [host for host in stale if host is not in_the_way[0]])
    return Paired(virtual, None, stale)
