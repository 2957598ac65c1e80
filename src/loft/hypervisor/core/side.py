"""On which of the two API servers an action is done."""

from __future__ import annotations

from typing import Literal

import msgspec

from loft.core.action import Action, Delete
from loft.core.resource import Resource
from loft.hypervisor.core import objects
from loft.hypervisor.core.objects import Object


class Step(msgspec.Struct, frozen=True):
    """One action on one side."""

    side: Literal["host", "virtual"]
    action: Action


def on_host(action: Action) -> Step:
    """Do it at the host's API server."""
    return Step("host", action)


def on_virtual(action: Action) -> Step:
    """Do it at the virtual API server."""
    return Step("virtual", action)


def removal_inside(resource: Resource, virtual: Object | None) -> list[Step]:
    """Return the step that deletes this very virtual object, none when there is none."""
    if virtual is None:
        return []
    namespace, name = objects.namespace(virtual), objects.name(virtual)
    return [on_virtual(Delete(resource, namespace, name, uid=objects.uid(virtual)))]
