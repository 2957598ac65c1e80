"""When authorities and the key of service accounts are exchanged for new ones, and what their Secret holds then. Pure.

Nobody is ever asked to prove themselves by what the other side does not know yet:

    (stable)   one authority of each kind
    trusting   a next one is there and everybody trusts both; certificates are still issued by the first
    issuing    the next one is the one, and all certificates are its; the old one is still trusted
    (stable)   the old one is forgotten

Each step is for all kinds of trust at once, is written to the Secret first, and then all replicas are started with it,
one after the other. A step is left when all of them have, and when its time is over: `overlap` is how long people
have to fetch the kubeconfig that trusts both (trusting) and holds a certificate of the next one (issuing).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from loft.hypervisor.certificates import AUTHORITIES, NEXT, OLD
from loft.pki.authority import due

ANNOTATION = "loft.sh/rotation"
"""Of the Secret: the State as JSON."""
MARK = "loft.sh/keys"
"""Of the pods: with which step of which rotation they have begun."""

Phase = Literal["", "trusting", "issuing"]
Step = Literal["introduce", "issue", "forget"]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rotation of one virtual cluster's keys is."""

    token: str = ""
    """What `certificates.rotateAuthority` said when the last rotation began."""
    phase: Phase = ""
    since: str = ""
    """RFC 3339; when the phase began, "" for keys that were never exchanged."""

    @property
    def mark(self) -> str:
        """What pods that have begun with this state carry, "" for anything."""
        return f"{self.phase or 'stable'}-{self.since}" if self.since else ""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the chart's values say."""

    token: str = ""
    overlap: timedelta


def parse(annotation: str) -> State:
    """Read the annotation, "" for none. Raises: ValueError."""
    try:
        return msgspec.json.decode(annotation or "{}", type=State)
    except msgspec.DecodeError as error:
        raise ValueError(f"annotation {ANNOTATION}: {error}") from error


def plan(state: State, data: Mapping[str, bytes], wish: Wish, now: datetime, *, all_follow: bool) -> Step | None:
    """Return the next step, None for none now.

    Args:
        state: as the Secret says.
        data: of the Secret.
        wish: of the values.
        now: the time.
        all_follow: whether all replicas have begun with `state`, and are well.
    """
    if not all_follow:
        return None
    if state.phase == "":
        is_wished = bool(wish.token) and wish.token != state.token
        is_due = any(due(data[f"{name}.crt"], now) for name in AUTHORITIES)
        return "introduce" if is_wished or is_due else None
    if now < datetime.fromisoformat(state.since) + wish.overlap:
        return None
    return "issue" if state.phase == "trusting" else "forget"


def after(step: Step, state: State, wish: Wish, now: datetime) -> State:
    """Return the state that a step leads to."""
    phases: dict[Step, Phase] = {"introduce": "trusting", "issue": "issuing", "forget": ""}
    token = (wish.token or state.token) if step == "introduce" else state.token
    return State(token=token, phase=phases[step], since=now.isoformat(timespec="seconds"))


def contents(step: Step, data: Mapping[str, bytes], fresh: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the Secret's data after a step.

    Args:
        step: what is done.
        data: of the Secret before.
        fresh: new authorities and a new signing key, as `new_authorities` makes them; used by `introduce` only.
    """
    if step == "introduce":
        return {**data, **{f"{NEXT}{name}": value for name, value in fresh.items()}}
    kept = {name: value for name, value in data.items() if not name.startswith((NEXT, OLD))}
    if step == "forget":
        return kept
    coming = {name.removeprefix(NEXT): value for name, value in data.items() if name.startswith(NEXT)}
    # The old ones' private keys are good for nothing any more.
    old = {f"{OLD}{name}": value for name, value in kept.items() if not name.endswith(".key")}
    return {**coming, **old}
