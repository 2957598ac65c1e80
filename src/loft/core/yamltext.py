"""YAML from outside: read quickly, never deeper than anybody writes by hand, and without what grows on reading.

libyaml recurses when it builds what it has read: text that is nested deeply enough ends the process. The pure Python
reader recurses too, and needs a minute for text of a few kilobytes. So the nesting is counted while the text is
parsed, event by event, and nothing is built before.
"""

from __future__ import annotations

from typing import Any

import yaml

NESTING_MAX = 100
"""Levels of maps and lists."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotYaml(ValueError):
    """The text is not YAML that is accepted here; the message says why, on one line."""


def load(text: str | bytes, *, aliases: bool = False) -> Any:
    """Return what one document says, None for an empty one.

    Args:
        text: the document.
        aliases: accept `*name`; a few bytes can then stand for gigabytes, once somebody copies the outcome.

    Raises: NotYaml.
    """
    found = load_all(text, aliases=aliases)
    if len(found) > 1:
        raise NotYaml("it has more than one document")
    return found[0] if found else None


def load_all(text: str | bytes, *, aliases: bool = False) -> list[Any]:
    """Return what each document says. Raises: NotYaml."""
    try:
        _look(text, aliases=aliases)
        return list(yaml.load_all(text, Loader=_LOADER))
    except NotYaml:
        raise
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise NotYaml(" ".join(str(error).split())[:300]) from error


def _look(text: str | bytes, *, aliases: bool) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent) and not aliases:
            raise NotYaml("YAML aliases (*name) are not supported")
        if depth > NESTING_MAX:
            raise NotYaml(f"it is nested more than {NESTING_MAX} levels deep")
