"""Named points at which a test can make the process crash, fail or wait; they do nothing otherwise.

`LOFT_FAILPOINTS="name=crash|error|delay:0.5,…"`: crash ends the process like kill -9, error raises
Unavailable, delay waits. Every write to an API server has one before and one after it.
"""

from __future__ import annotations

import asyncio
import os
import signal

from loft.kube.errors import Unavailable


def parse(text: str) -> dict[str, str]:
    """Return the behaviour for each named point.

    Raises: ValueError for a behaviour that does not exist.
    """
    points = {}
    for part in filter(None, text.split(",")):
        name, _, behaviour = part.partition("=")
        if behaviour not in ("crash", "error") and not behaviour.startswith("delay:"):
            raise ValueError(f"failpoint {part!r}: use name=crash, name=error or name=delay:SECONDS")
        points[name.strip()] = behaviour
    return points


_active = parse(os.environ.get("LOFT_FAILPOINTS", ""))


async def failpoint(name: str) -> None:
    """Pass the point `name`; what happens is up to LOFT_FAILPOINTS."""
    if not _active:
        return
    behaviour = _active.get(name, "")
    if behaviour == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif behaviour == "error":
        raise Unavailable(0, "Failpoint", f"failpoint {name}")
    elif behaviour:
        await asyncio.sleep(float(behaviour.removeprefix("delay:")))
