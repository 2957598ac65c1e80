"""Which specs there are, which are still to be run, and what a report says of them. Pure.

A spec is known by its full text, as Ginkgo prints it. Results are lines of JSON that are only ever added to a file;
the last one for a spec counts, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

CONFORMANCE = "[Conformance]"
SERIAL = "[Serial]"
DISRUPTIVE = "[Disruptive]"
MESSAGE_MAX = 1500
_SIG = re.compile(r"\[sig-([a-z-]+)\]")
_ENDED = {"passed": "passed", "skipped": "skipped", "pending": "skipped"}


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one spec on one cluster."""

    spec: str
    state: str
    """passed, failed, skipped, or ended: the program stopped before it said anything about the spec."""
    seconds: float = 0.0
    message: str = ""


def text_of(report: Mapping[str, Any]) -> str:
    """Return the full text of a spec in a Ginkgo report."""
    return " ".join([*(report.get("ContainerHierarchyTexts") or ()), str(report.get("LeafNodeText") or "")])


def listed(suites: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the conformance specs of a dry run's report, sorted."""
    reports = [report for suite in suites for report in suite.get("SpecReports") or ()]
    specs = {text_of(report) for report in reports if report.get("LeafNodeType") == "It"}
    return sorted(spec for spec in specs if CONFORMANCE in spec)


def results(suites: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> list[Result]:
    """Return the results that a report holds for the specs that were asked for; `ended` where it holds none."""
    found: dict[str, Result] = {}
    for report in (report for suite in suites for report in suite.get("SpecReports") or ()):
        spec = text_of(report)
        if report.get("LeafNodeType") == "It" and spec in asked:
            failure = report.get("Failure") or {}
            found[spec] = Result(
                spec=spec,
                state=_ENDED.get(str(report.get("State")), "failed"),
                seconds=round(float(report.get("RunTime") or 0) / 1e9, 1),
                message=str(failure.get("Message") or "")[:MESSAGE_MAX],
            )
    return [found.get(spec) or Result(spec=spec, state="ended", message="no result: see the log") for spec in asked]


def latest(lines: Iterable[bytes]) -> dict[str, Result]:
    """Return the last result of each spec; a line that was cut off by a crash is no result."""
    found = {}
    for line in lines:
        try:
            result = msgspec.json.decode(line, type=Result)
        except msgspec.DecodeError:
            continue
        found[result.spec] = result
    return found


def batches(specs: Sequence[str], size: int) -> tuple[list[list[str]], list[list[str]]]:
    """Return (batches that may run beside each other, batches that must run alone).

    Specs of one file stand together in the sorted list; they are dealt out so that no batch is all slow ones. What
    disturbs others is run last: such a spec may leave a node behind on which nothing runs for a while.
    """
    disturbing = [spec for spec in specs if DISRUPTIVE in spec]
    alone = [spec for spec in specs if SERIAL in spec and spec not in disturbing] + disturbing
    together = [spec for spec in specs if spec not in alone]
    count = -(-len(together) // size)
    dealt = [together[index::count] for index in range(count)]
    return dealt, [alone[index : index + size] for index in range(0, len(alone), size)]


def focus(specs: Sequence[str]) -> str:
    """Return the regular expression that selects exactly these specs (RE2, which Go uses).

    Ginkgo matches it against the text behind the name of the suite, hence there is no anchor at the beginning.
    """
    return "(" + "|".join(re.sub(r"([][\\.+*?()|{}^$])", r"\\\1", spec) for spec in specs) + ")$"


def sig_of(spec: str) -> str:
    """Return the special interest group that owns a spec."""
    match = _SIG.search(spec)
    return match[1] if match else "other"


def table(specs: Sequence[str], host: Mapping[str, Result], virtual: Mapping[str, Result]) -> list[str]:
    """Return the lines of a Markdown table: a row for each group, passed of run on both clusters."""
    groups = defaultdict(list)
    for spec in specs:
        groups[sig_of(spec)].append(spec)
    lines = [
        "| SIG | specs | host passed | virtual cluster passed | passes on the host only |",
        "|---|---|---|---|---|",
    ]
    for name, members in [*sorted(groups.items()), ("all", list(specs))]:
        on_host = sum(_passed(host, spec) for spec in members)
        inside = sum(_passed(virtual, spec) for spec in members)
        lost = sum(_passed(host, spec) and not _passed(virtual, spec) for spec in members)
        lines.append(f"| {name} | {len(members)} | {on_host} | {inside} | {lost} |")
    return lines


def _passed(found: Mapping[str, Result], spec: str) -> bool:
    return spec in found and found[spec].state == "passed"


def open_specs(specs: Sequence[str], found: Mapping[str, Result]) -> list[tuple[str, Result | None]]:
    """Return the specs that did not pass, with what is known of them; None for one that was not run."""
    return [(spec, found.get(spec)) for spec in specs if not _passed(found, spec)]


def brief(message: str) -> str:
    """Return the beginning of a failure message on one line."""
    return " ".join(message.split())[:160].replace("|", "\\|")
