"""Which names a command takes: looked at before anything is asked of a server, for a name becomes part of a URL.

Whether such a thing exists, and whether the name is free, only the server knows.
"""

from __future__ import annotations

import re

import click

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SHOWN_MAX = 80
VIRTUAL_CLUSTER_MAX = 40
"""Its Helm release and all objects of its control plane are named after it."""


class Name(click.ParamType[str]):
    """A name as Kubernetes has them (RFC 1123 label), for one kind of thing."""

    name = "name"

    def __init__(self, thing: str, length_max: int = 63) -> None:
        self._thing = thing
        self._length_max = length_max

    def why_not(self, value: str) -> str:
        """Return what is wrong with a name, "" when nothing is."""
        if len(value) <= self._length_max and _LABEL.fullmatch(value):
            return ""
        shown = value if len(value) <= SHOWN_MAX else f"{value[:SHOWN_MAX]}…"
        return (
            f"{shown!r} is no name for {self._thing}: use 1 to {self._length_max} characters a-z, 0-9 and -, "
            "beginning and ending with a letter or digit"
        )

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name. An empty option counts as not given; an empty argument is a script's mistake."""
        if not value and isinstance(param, click.Option):
            return value
        if problem := self.why_not(value):
            self.fail(problem, param, ctx)
        return value


CLUSTER = Name("a cluster")
SPACE = Name("a space")
VIRTUAL_CLUSTER = Name("a virtual cluster", VIRTUAL_CLUSTER_MAX)
SECONDS = click.FloatRange(min=1)
"""How long a command waits at most."""
