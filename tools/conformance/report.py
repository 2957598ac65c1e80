"""The page docs/conformance.md, made from the results of a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .specs import Result, brief, open_specs, table

_HEAD = """# Conformance

Kubernetes {version}'s own [Conformance] specs, run by `make conformance` against the embedded host cluster (one node)
and against a virtual cluster on it (a scheduler inside, all nodes shown). Made by that command; not edited by hand.

"""


def text(specs: Sequence[str], host: Mapping[str, Result], virtual: Mapping[str, Result], version: str) -> str:
    """Return the page.

    Args:
        specs: every conformance spec of that version.
        host, virtual: the latest results by spec.
        version: of Kubernetes.
    """
    lines = table(specs, host, virtual)
    passed = {spec for spec, result in host.items() if result.state == "passed"}
    lost = [item for item in open_specs(specs, virtual) if item[0] in passed]
    unknown = [item for item in open_specs(specs, virtual) if item[0] not in host]
    lines += ["", "## Pass on the host and not in a virtual cluster", "", *_listed(lost)]
    lines += ["", "## Do not pass in a virtual cluster, not run on the host yet", "", *_listed(unknown)]
    lines += ["", "## Do not pass on the host", "", *_listed(open_specs(specs, host))]
    return _HEAD.format(version=version) + "\n".join(lines) + "\n"


def _listed(items: Sequence[tuple[str, Result | None]]) -> list[str]:
    lines = [f"- {spec}: {_why(result)}" for spec, result in items if result is not None]
    left = sum(result is None for _, result in items)
    return [*lines, *([f"- {left} specs were not run yet"] if left else [])] or ["None."]


def _why(result: Result) -> str:
    return f"{result.state}. {brief(result.message)}".strip()
