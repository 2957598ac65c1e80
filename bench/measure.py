"""What the benchmarks share: the running cluster, repeated timing, medians, the memory of a process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from loft.embedded import registry
from loft.embedded.layout import MAIN_CLUSTER, Layout


def running_cluster() -> Layout:
    """Return the layout of the main cluster of this machine."""
    layout = registry.layout_of(MAIN_CLUSTER)
    if layout is None:
        raise SystemExit("no cluster on this machine; run: make start")
    return layout


def kubectl(layout: Layout, *words: str, stdin: str = "") -> str:
    """Run kubectl as the cluster's administrator and return its output."""
    command = [str(layout.binaries / "kubectl"), "--kubeconfig", str(layout.kubeconfig), *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=120).stdout


def timed(action: Callable[[], object], *, runs: int, warmup: int = 1) -> list[float]:
    """Return how long each counted run took, in seconds."""
    for _ in range(warmup):
        action()
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return found


def show(name: str, seconds: list[float]) -> None:
    """Print minimum, median and maximum."""
    columns = (("min", min(seconds)), ("median", statistics.median(seconds)), ("max", max(seconds)))
    print(f"{name:40}" + "".join(f" {label} {value:7.3f} s  " for label, value in columns) + f" n {len(seconds)}")


def private_bytes(pid: int) -> int:
    """Return a process's private memory (RssAnon) in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pids(layout: Layout) -> dict[str, int]:
    """Return the pid of each process of the cluster."""
    return {path.stem: int(json.loads(path.read_text())["pid"]) for path in sorted((layout.run / "pids").glob("*.pid"))}
