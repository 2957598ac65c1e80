"""Which figures there are, what each is compared with, and how good it has to be; pure.

The scripts record *series*: a name, a unit, and a number for each run. A figure is the median of one series beside that
of its baseline, which the same script measured in the same run, so a slower machine does not change the verdict of a
ratio. `run.py` prints all of them; each script prints those that it has measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What a script measured: one number for each run."""

    name: str
    unit: str
    values: list[float]

    @property
    def middle(self) -> float:
        """The median."""
        return statistics.median(self.values)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    ours: str
    """Name of a series."""
    baseline: str = ""
    """Name of the series beside it, "" when there is nothing to compare with."""
    bar: float | None = None
    """How much it may be at most; None: nothing is demanded, it is only shown."""
    of: Literal["ours", "ratio", "difference"] = "ours"
    """What the bar is about: our number, ours divided by the baseline, or what ours has more."""
    at_least: bool = False
    """The bar is a minimum."""


POD = "pod: apply -> Ready"
CREATE = "virtual cluster: create -> API usable"
CREATE_BASELINE = "pod: apply -> Ready, host (baseline)"
WARM = "virtual cluster: claim -> API usable"
WARM_BASELINE = "virtual cluster: create -> API usable, cold (baseline)"
SERVICES = "500 Services: created"
SERVICES_GONE = "500 Services: deleted"
SERVICES_CPU = "500 Services: processor time of the hypervisor"
LARGE_MEMORY = "hypervisor, 1 000 Pods and 5 000 unused Secrets: memory"
STATUS = "1 000 Pods' status written on the host: last one seen inside"
LAG = "200 writes/s inside: a write is on the host"
LAG_BASELINE = "200 writes/s on the host: a write is seen (baseline)"
HOST_CONTROL_PLANE = "control plane, host"
VIRTUAL_CONTROL_PLANE = "control plane, virtual"
BARE_PYTHON = "bare Python"

FIGURES = (
    Figure(what="virtual cluster: create to usable", ours=CREATE, baseline=CREATE_BASELINE, bar=8.0),
    Figure(what="virtual cluster: claim of a warm one", ours=WARM, baseline=WARM_BASELINE, bar=1.0),
    Figure(what="pod: apply to Ready", ours=f"{POD}, virtual", baseline=f"{POD}, host", of="ratio", bar=1.12),
    Figure(
        what="kubectl logs", ours="kubectl logs, virtual", baseline="kubectl logs, host", of="difference", bar=0.020
    ),
    Figure(
        what="kubectl exec", ours="kubectl exec, virtual", baseline="kubectl exec, host", of="difference", bar=0.020
    ),
    Figure(
        what="500 Services: last on the host", ours=f"{SERVICES}, virtual", baseline=f"{SERVICES}, host", of="ratio",
        bar=1.8,
    ),
    Figure(
        what="500 Services: last gone there", ours=f"{SERVICES_GONE}, virtual", baseline=f"{SERVICES_GONE}, host",
        of="ratio", bar=1.8,
    ),
    Figure(what="hypervisor: processor for the 500", ours=SERVICES_CPU, bar=2.0),
    Figure(what="hypervisor: memory", ours="hypervisor: memory", baseline=f"{BARE_PYTHON}: memory", bar=40.0),
    Figure(what="hypervisor: idle processor", ours="hypervisor: idle processor", bar=0.2),
    Figure(
        what="virtual control plane: memory", ours=f"{VIRTUAL_CONTROL_PLANE}: memory",
        baseline=f"{HOST_CONTROL_PLANE}: memory", bar=250.0,
    ),
    Figure(
        what="virtual control plane: idle processor", ours=f"{VIRTUAL_CONTROL_PLANE}: idle processor",
        baseline=f"{HOST_CONTROL_PLANE}: idle processor", bar=2.4,
    ),
    Figure(what="hypervisor: memory, 1 000 Pods", ours=LARGE_MEMORY, baseline=f"{BARE_PYTHON}: memory", bar=90.0),
    Figure(what="1 000 Pods' status: last one inside", ours=STATUS),
    Figure(what="200 writes/s: seen on the host after", ours=LAG, baseline=LAG_BASELINE, bar=0.5),
    Figure(what="centre: memory", ours="centre: memory"),
    Figure(what="centre's Envoy: memory", ours="centre's Envoy: memory"),
    Figure(what="agent: memory", ours="agent: memory"),
    Figure(what="agent's Envoy: memory", ours="agent's Envoy: memory"),
    Figure(what="embedded daemon: memory", ours="embedded daemon: memory", baseline=f"{BARE_PYTHON}: memory"),
    Figure(
        what="agent: added p50, to kubectl proxy", ours="agent: added p50, 1 connection",
        baseline="kubectl proxy: added p50, 1 connection", of="ratio", bar=1.0,
    ),
    Figure(
        what="agent: p99, to direct", ours="agent: p99, 1 connection", baseline="direct: p99, 1 connection",
        of="difference", bar=1.0,
    ),
    Figure(
        what="agent: throughput, to plain Envoy", ours="agent: throughput, 16 connections",
        baseline="plain Envoy: throughput, 16 connections", of="ratio", bar=0.9, at_least=True,
    ),
    Figure(
        what="centre and agent: added p50, to agent", ours="centre + agent: added p50, 1 connection",
        baseline="agent: added p50, 1 connection", of="ratio", bar=2.0,
    ),
)  # fmt: skip

HEAD = ("figure", "ours", "baseline", "ratio", "wish", "met")


def rows(found: Iterable[Series], figures: Iterable[Figure] = FIGURES, *, missing: bool = False) -> list[list[str]]:
    """Return one row of words for each figure; with `missing` also for those that nobody measured."""
    series = {one.name: one for one in found}
    return [_row(figure, series) for figure in figures if missing or _measured(figure, series)]


def table(lines: list[list[str]]) -> str:
    """Return rows as text in columns."""
    every = [list(HEAD), *lines]
    widths = [max(len(row[column]) for row in every) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(word.ljust(width) if not column else word.rjust(width)
                  for column, (word, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in every
    )  # fmt: skip


def is_met(figure: Figure, ours: float, baseline: float | None) -> bool | None:
    """Tell whether the bar is kept; None when there is none, or nothing to compare with."""
    value = _compared(figure, ours, baseline)
    if figure.bar is None or value is None:
        return None
    return value >= figure.bar if figure.at_least else value <= figure.bar


def _measured(figure: Figure, series: Mapping[str, Series]) -> bool:
    return figure.ours in series and (not figure.baseline or figure.baseline in series)


def _row(figure: Figure, series: Mapping[str, Series]) -> list[str]:
    wish = _wish(figure, series)
    if not _measured(figure, series):
        return [figure.what, "not measured", "", "", wish, ""]
    ours = series[figure.ours]
    beside = series[figure.baseline] if figure.baseline else None
    middle = beside.middle if beside else None
    ratio = f"{ours.middle / middle:.2f}" if middle and middle > 0 else ""
    met = {True: "yes", False: "no", None: ""}[is_met(figure, ours.middle, middle)]
    compared = number(beside.middle, beside.unit) if beside else ""
    return [figure.what, number(ours.middle, ours.unit), compared, ratio, wish, met]


def _compared(figure: Figure, ours: float, baseline: float | None) -> float | None:
    if figure.of == "ours":
        return ours
    if baseline is None:
        return None
    if figure.of == "difference":
        return ours - baseline
    # An added time that is nothing (or less, by chance) is a baseline that cannot be divided by.
    return ours / baseline if baseline > 0 else None


def _wish(figure: Figure, series: Mapping[str, Series]) -> str:
    if figure.bar is None:
        return ""
    sign = ">=" if figure.at_least else "<="
    if figure.of == "ratio":
        return f"ratio {sign} {figure.bar:g}"
    unit = series[figure.ours].unit if figure.ours in series else ""
    return f"{sign} {'baseline + ' if figure.of == 'difference' else ''}{_bar(figure.bar, unit)}"


def _bar(bar: float, unit: str) -> str:
    return f"{bar * 1000:g} ms" if unit == "s" and bar < 0.1 else f"{bar:g} {unit}".rstrip()


def number(value: float, unit: str) -> str:
    """Return a number with about three digits that say something, and its unit."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 20 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f} {unit}".rstrip()
