"""Named points at which a test makes the process crash, fail or wait; in production they do nothing.

`LOFT_FAILPOINTS="NAME=BEHAVIOUR[,…]"` with BEHAVIOUR `crash` (ends the process at once, exit code CRASHED, nothing
is flushed or cleaned up), `error` (raises Unavailable) or `delay:SECONDS`; `@N` behind it means only the N-th pass
(`error@2`). A name may end in `*`. Each write to an API server has a point before and one after it
(`COMPONENT.VERB.PLURAL.before`).
"""

from __future__ import annotations

import asyncio
import os
import time
from fnmatch import fnmatchcase

import msgspec

from loft.kube.errors import Unavailable

CRASHED = 86
"""Exit code of a crash, so that a test can tell it from other ends."""
VARIABLE = "LOFT_FAILPOINTS"


class Behaviour(msgspec.Struct):
    """What happens at a point; `passes` counts, `only` (0: every time) says at which pass."""

    kind: str
    delay_s: float = 0.0
    only: int = 0
    passes: int = 0


def parse(text: str) -> dict[str, Behaviour]:
    """Return the behaviour of each named point.

    Raises: ValueError naming the part that cannot be read: a test that injects nothing must not pass.
    """
    points = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, behaviour = part.partition("=")
        kind, at, only = behaviour.partition("@")
        kind, colon, delay = kind.partition(":")
        known = kind in ("crash", "error", "delay") and bool(colon) == (kind == "delay")
        if not name or not equals or not known or (at and not only.isdigit()):
            raise ValueError(f"{VARIABLE}: {part!r} is not NAME=crash|error|delay:SECONDS, with @N for the N-th pass")
        points[name] = Behaviour(kind, float(delay or 0), int(only or 0))
    return points


_active = parse(os.environ.get(VARIABLE, ""))
_passed: dict[str, None] = {}
PASSED_MAX = 10_000


def passed() -> list[str]:
    """Return the names of all points passed while any was active, in the order of their first pass (for tests)."""
    return list(_passed)


def activate(text: str) -> None:
    """Set the behaviours as LOFT_FAILPOINTS would, for tests in one process; "" ends all."""
    _active.clear()
    _active.update(parse(text))
    _passed.clear()


def fp(name: str) -> None:
    """Pass the point `name`; a delay blocks the whole process here, as a stall of the machine would.

    Raises: Unavailable when the point is set to fail.
    """
    if _active and (delay_s := _reach(name)):
        time.sleep(delay_s)


async def failpoint(name: str) -> None:
    """Pass the point `name`; a delay lets other tasks go on.

    Raises: Unavailable when the point is set to fail.
    """
    if _active and (delay_s := _reach(name)):
        await asyncio.sleep(delay_s)


def _reach(name: str) -> float:
    """Act on a point; return the seconds to wait."""
    if len(_passed) < PASSED_MAX:
        _passed[name] = None
    for pattern, behaviour in _active.items():
        if not fnmatchcase(name, pattern):
            continue
        behaviour.passes += 1
        if behaviour.only and behaviour.passes != behaviour.only:
            continue
        if behaviour.kind == "crash":
            os._exit(CRASHED)
        if behaviour.kind == "error":
            raise Unavailable(0, "Failpoint", f"failpoint {name}")
        return behaviour.delay_s
    return 0.0
