"""What the benchmarks share: the running cluster, repeated timing, medians, the memory of a process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

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


VIRTUAL_CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {{name: bench-{name}}}
---
apiVersion: storage.loft.sh/v1
kind: VirtualCluster
metadata: {{name: {name}, namespace: bench-{name}}}
spec: {{}}
"""


@contextlib.contextmanager
def virtual_cluster(layout: Layout, name: str) -> Iterator[Callable[..., str]]:
    """Create a virtual cluster, wait until it can be used, and give its kubectl; it is removed afterwards."""
    namespace = f"bench-{name}"
    with tempfile.TemporaryDirectory(prefix="loft-bench-") as folder:
        try:
            kubectl(layout, "apply", "-f", "-", stdin=VIRTUAL_CLUSTER.format(name=name))
            ready = "--for=jsonpath={.status.controlPlaneReady}=true"
            kubectl(layout, "wait", "-n", namespace, f"virtualclusters.storage.loft.sh/{name}", ready, "--timeout=120s")
            path = Path(folder) / "kubeconfig"
            path.write_text(_kubeconfig(layout, name, namespace))

            def inside(*words: str, stdin: str = "") -> str:
                return kubectl(layout, f"--kubeconfig={path}", *words, stdin=stdin)

            inside("get", "serviceaccount", "default")
            yield inside
        finally:
            kubectl(layout, "delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s")


def _kubeconfig(layout: Layout, name: str, namespace: str) -> str:
    """Return the virtual cluster's kubeconfig, leading to its Service: no gateway is in between."""
    secret = json.loads(kubectl(layout, "get", "secret", f"vc-{name}", "-n", namespace, "-o", "json"))
    service = json.loads(kubectl(layout, "get", "service", name, "-n", namespace, "-o", "json"))
    config = yaml.safe_load(base64.b64decode(secret["data"]["config"]))
    config["clusters"][0]["cluster"]["server"] = f"https://{service['spec']['clusterIP']}:443"
    return str(yaml.safe_dump(config))


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


def pod_processes(pod: str) -> dict[str, int]:
    """Return the pid of each process in a pod of this machine, by its program or Python module."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if (place / "root/etc/hostname").read_text().strip() == pod:
                name = words[2] if words[1:2] == [b"-m"] else words[0]
                found[Path(name.decode()).name] = int(place.name)
        except OSError:
            continue
    found.pop("pause", None)
    return found
