"""On which of the two API servers an action is done."""

from __future__ import annotations

from typing import Literal

import msgspec

from loft.core.action import Action


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
