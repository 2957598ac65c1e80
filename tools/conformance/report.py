"""The page docs/conformance.md, made from the results of a run. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from .specs import Result, brief, open_specs, table

REASONS = Path(__file__).parent / "reasons.yaml"


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why specs do not pass."""

    specs: str
    """A regular expression; the reason is for the specs in which it is found."""
    why: str


def reasons() -> tuple[Reason, ...]:
    """Return what is known of specs that do not pass."""
    return msgspec.yaml.decode(REASONS.read_bytes(), type=tuple[Reason, ...])


_HEAD = """# Conformance

Kubernetes {version}'s own [Conformance] specs, run by `make conformance` against the embedded host cluster (one node)
and against a virtual cluster on it (a scheduler inside, all nodes shown). Made by that command; not edited by hand.

"""


def text(
    specs: Sequence[str],
    host: Mapping[str, Result],
    virtual: Mapping[str, Result],
    version: str,
    known: Sequence[Reason] = (),
) -> str:
    """Return the page.

    Args:
        specs: every conformance spec of that version.
        host, virtual: the latest results by spec.
        version: of Kubernetes.
        known: why specs do not pass.
    """
    lines = table(specs, host, virtual)
    passed = {spec for spec, result in host.items() if result.state == "passed"}
    lost = [item for item in open_specs(specs, virtual) if item[0] in passed]
    unknown = [item for item in open_specs(specs, virtual) if item[0] not in host]
    lines += ["", "## Pass on the host and not in a virtual cluster", "", *_listed(lost, known)]
    lines += ["", "## Do not pass in a virtual cluster, not run on the host yet", "", *_listed(unknown, known)]
    lines += ["", "## Do not pass on the host", "", *_listed(open_specs(specs, host), known)]
    return _HEAD.format(version=version) + "\n".join(lines) + "\n"


def _listed(items: Sequence[tuple[str, Result | None]], known: Sequence[Reason]) -> list[str]:
    lines = [f"- {spec}: {_why(spec, result, known)}" for spec, result in items if result is not None]
    left = sum(result is None for _, result in items)
    return [*lines, *([f"- {left} specs were not run yet"] if left else [])] or ["None."]


def _why(spec: str, result: Result, known: Sequence[Reason]) -> str:
    for reason in known:
        if re.search(reason.specs, spec):
            return reason.why
    return f"{result.state}, not explained yet. {brief(result.message)}".strip()
