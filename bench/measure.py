"""What the benchmarks share: the running cluster, kubectl, virtual clusters, repeated timing, series of numbers.

Whatever a benchmark makes is named `bench-…`, carries LABEL, and is removed when it ends, also by Ctrl-C; what one that
was killed has left is removed by the next.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import figures
import msgspec
import yaml

from loft.embedded import registry
from loft.embedded.layout import MAIN_CLUSTER, Layout, state_root

LABEL = "bench.loft.sh/made"
RESULTS = "LOFT_BENCH_RESULTS"
"""Environment variable: file to which each series is added as a line of JSON."""

NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {{name: {name}, labels: {{bench.loft.sh/made: ""}}}}
"""
VIRTUAL_CLUSTER = (
    NAMESPACE
    + """---
apiVersion: storage.loft.sh/v1
kind: VirtualCluster
metadata: {{name: {cluster}, namespace: {name}}}
spec: {{}}
"""
)

_found: list[figures.Series] = []
_only_one: list[socket.socket] = []


def begin() -> None:
    """Prepare the process: one benchmark at a time, a way to end it, its figures at its end. Raises: SystemExit."""
    if _only_one:
        return
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind("\0loft-bench")  # goes away with the process, however that ends
    except OSError:
        raise SystemExit("another benchmark is running on this machine; wait for its end") from None
    _only_one.append(lock)
    # Both end what runs by an exception, so that everything made is removed; a shell may have left Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.excepthook = _explain
    if RESULTS not in os.environ:
        atexit.register(_print_figures)


def running_cluster() -> Layout:
    """Return the layout of this machine's main cluster, without leftovers. Raises: SystemExit when none is running."""
    begin()
    try:
        layout = registry.layout_of(MAIN_CLUSTER)
        if layout is None:
            raise ValueError("none is known")
        kubectl(layout, "get", "--raw", "/readyz", "--request-timeout=5s")
        kubectl(layout, "get", "customresourcedefinition", "virtualclusters.storage.loft.sh")
    except (ValueError, OSError, registry.RegistryError, subprocess.SubprocessError):
        raise SystemExit(f"no running platform (state in {state_root()}): run `make start`, then this again") from None
    kubectl(layout, "delete", "namespace", f"--selector={LABEL}", "--timeout=120s")
    return layout


def kubectl(layout: Layout, *words: str, stdin: str = "") -> str:
    """Run kubectl as the cluster's administrator and return its output. Raises: SubprocessError."""
    command = [str(layout.binaries / "kubectl"), "--kubeconfig", str(layout.kubeconfig), *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=180)
    if done.returncode:
        raise subprocess.SubprocessError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def namespace(kubectl: Callable[..., str], name: str) -> Iterator[None]:
    """Make a namespace in which pods can be created; it is removed with all that is in it."""
    try:
        kubectl("apply", "-f", "-", stdin=NAMESPACE.format(name=name))
        kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=60s")
        yield
    finally:
        with uninterrupted():
            kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s")


@contextlib.contextmanager
def virtual_cluster(layout: Layout, name: str) -> Iterator[Callable[..., str]]:
    """Create a virtual cluster, wait until it can be used, and give its kubectl; it is removed afterwards."""
    namespace = f"bench-{name}"
    with tempfile.TemporaryDirectory(prefix="loft-bench-") as folder:
        try:
            kubectl(layout, "apply", "-f", "-", stdin=VIRTUAL_CLUSTER.format(cluster=name, name=namespace))
            ready = "--for=jsonpath={.status.controlPlaneReady}=true"
            kubectl(layout, "wait", "-n", namespace, f"virtualclusters.storage.loft.sh/{name}", ready, "--timeout=120s")
            path = Path(folder) / "kubeconfig"
            path.write_text(kubeconfig(layout, name, namespace))

            def inside(*words: str, stdin: str = "") -> str:
                return kubectl(layout, f"--kubeconfig={path}", *words, stdin=stdin)

            inside("get", "serviceaccount", "default")
            yield inside
        finally:
            with uninterrupted():
                kubectl(layout, "delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s")


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C in the block and in what it starts: for removals, each of which has a time limit."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def kubeconfig(layout: Layout, name: str, namespace: str) -> str:
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


def show(name: str, values: list[float], unit: str = "s") -> None:
    """Print minimum, median and maximum of a series, and record it."""
    columns = (("min", min(values)), ("median", statistics.median(values)), ("max", max(values)))
    numbers = "".join(f" {label} {figures.number(value, unit):>9}" for label, value in columns)
    print(f"{name:46}{numbers}  n {len(values)}", flush=True)
    record(name, values, unit)


def record(name: str, values: list[float], unit: str) -> None:
    """Keep a series for the table of figures."""
    series = figures.Series(name=name, unit=unit, values=values)
    _found.append(series)
    if path := os.environ.get(RESULTS):
        with open(path, "ab") as file:
            file.write(msgspec.json.encode(series) + b"\n")


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line what ended the benchmark, unless it is a mistake in it."""
    if issubclass(kind, KeyboardInterrupt):
        print("\ninterrupted; everything made was removed", file=sys.stderr)
    elif issubclass(kind, subprocess.SubprocessError | TimeoutError | ConnectionError):
        print(f"[fatal] {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _print_figures() -> None:
    if lines := figures.rows(_found):
        print("\n" + figures.table(lines))
