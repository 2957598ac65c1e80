"""500 Services by one `kubectl create`, until the last is on the host; the same on the host itself; and their deletion.

What happens on the host is told by a watch there that is open before. The processor time of the virtual cluster's
hypervisor is counted from the start of `create` until it has nothing left to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import figures
import measure
import processes
from watch import Watch

COUNT = 500
RUNS = 2
CLUSTER = "services"
NAMESPACE = "bench-many"
QUIET_S = 2.0
QUIET_CPU_S = 0.05
QUIET_LIMIT_S = 60.0

Kubectl = Callable[..., str]


def main() -> None:
    """Take turns: host, then virtual cluster, some times."""
    layout = measure.running_cluster()

    def host(*words: str, stdin: str = "") -> str:
        return measure.kubectl(layout, *words, stdin=stdin)

    created: dict[str, list[float]] = {"host": [], "virtual": []}
    deleted: dict[str, list[float]] = {"host": [], "virtual": []}
    used: list[float] = []
    with (
        measure.virtual_cluster(layout, CLUSTER) as inside,
        measure.namespace(host, NAMESPACE),
        measure.namespace(inside, NAMESPACE),
        Watch(host, f"/api/v1/namespaces/{NAMESPACE}/services") as there,
        Watch(host, f"/api/v1/namespaces/bench-{CLUSTER}/services") as synced,
    ):
        hypervisor = processes.of_pod(f"{CLUSTER}-0")["loft.cmd.hypervisor"]
        for place, kubectl, watch in (("host", host, there), ("virtual", inside, synced)) * RUNS:
            before = processes.cpu_seconds(hypervisor)
            created[place].append(create(kubectl, watch))
            after = settled(hypervisor)
            if place == "virtual":
                used.append(after - before)
            deleted[place].append(delete(kubectl, watch))
            settled(hypervisor)
    for what, found in ((figures.SERVICES, created), (figures.SERVICES_GONE, deleted)):
        for place, seconds in found.items():
            measure.show(f"{what}, {place}", seconds)
    measure.show(figures.SERVICES_CPU, used)


def create(kubectl: Kubectl, watch: Watch) -> float:
    """Create all; return the seconds until the last was there."""
    return watched(watch, "ADDED", lambda: kubectl("create", "-f", "-", stdin=services()))


def delete(kubectl: Kubectl, watch: Watch) -> float:
    """Delete all; return the seconds until the last was gone."""
    return watched(watch, "DELETED", lambda: kubectl("delete", "services", "-n", NAMESPACE, "--all", "--wait=false"))


def watched(watch: Watch, kind: str, action: Callable[[], str]) -> float:
    """Do it, and return how long it took until the watch told the last of all changes of that kind."""
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(action)
        ended = watch.until(lambda event: bool(event["type"] == kind), COUNT)
        doing.result()
    return ended - began


def settled(pid: int) -> float:
    """Wait until a process does next to nothing; return the processor time that it has used. Raises: TimeoutError."""
    deadline = time.monotonic() + QUIET_LIMIT_S
    used = processes.cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        before, used = used, processes.cpu_seconds(pid)
        if used - before < QUIET_CPU_S:
            return used
    raise TimeoutError(f"process {pid} is not idle after {QUIET_LIMIT_S:.0f} s")


def services() -> str:
    """Return one document with all Services."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"bench-{number}", "namespace": NAMESPACE},
            "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]},
        }
        for number in range(COUNT)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


if __name__ == "__main__":
    main()
