"""Private memory and processor time of each process of an idle platform with one virtual cluster.

Memory is what the process alone has written (`smaps_rollup`: Private_Dirty, the same as RssAnon); pages of files that
nobody else has mapped are shown beside it, the kernel may drop them. Baselines in the same run: the control plane of
the host for that of the virtual cluster, a bare Python interpreter for our own processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import figures
import measure
import processes

SETTLE_S = 60.0
IDLE_S = 60.0
CLUSTER = "memory"
CONTROL_PLANE = ("kube-apiserver", "etcd", "kube-controller-manager")
HYPERVISOR = "loft.cmd.hypervisor"

Groups = dict[str, dict[str, int]]
"""Pids by group and name."""
Used = dict[int, tuple[processes.Memory, float]]
"""By pid: memory, and seconds of processor time a minute."""


def main() -> None:
    """Look at every process twice, a minute apart."""
    layout = measure.running_cluster()
    bare = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with measure.virtual_cluster(layout, CLUSTER):
            time.sleep(SETTLE_S)
            groups = {
                "host": processes.of_cluster(layout),
                "virtual cluster": processes.of_pod(f"{CLUSTER}-0"),
                "baseline": {figures.BARE_PYTHON: bare.pid},
            }
            pods = json.loads(measure.kubectl(layout, "get", "pods", "-n", "loft", "-o", "json"))["items"]
            for pod in pods:
                name = pod["metadata"]["labels"]["app.kubernetes.io/name"]
                groups[name] = processes.of_pod(pod["metadata"]["name"])
            used = observed(groups)
    finally:
        bare.kill()
        bare.wait()
    report(groups, used)
    record(groups, used)


def observed(groups: Groups) -> Used:
    """Return what each process uses, over a minute."""
    pids = [pid for group in groups.values() for pid in group.values()]
    before = {pid: processes.cpu_seconds(pid) for pid in pids}
    time.sleep(IDLE_S)
    return {pid: (processes.memory(pid), (processes.cpu_seconds(pid) - before[pid]) * 60 / IDLE_S) for pid in pids}


def report(groups: Groups, used: Used) -> None:
    """Print memory and time of each process, and the sum of each group."""
    for group, members in groups.items():
        lines = [(name, *used[pid]) for name, pid in members.items()]
        written, mapped = (sum(getattr(one[1], part) for one in lines) for part in ("written", "mapped"))
        lines.append(("together", processes.Memory(written, mapped), sum(one[2] for one in lines)))
        for name, memory, spent_s in lines:
            sizes = f"private {memory.written / 1e6:7.1f} MB   and of files {memory.mapped / 1e6:6.1f} MB"
            print(f"{group:16} {name:26} {sizes}   cpu {spent_s:6.2f} s/min")
        print()


def record(groups: Groups, used: Used) -> None:
    """Keep what the table of figures is about."""
    host, virtual = groups["host"], groups["virtual cluster"]
    parts = {
        "hypervisor": [virtual[HYPERVISOR]],
        figures.BARE_PYTHON: list(groups["baseline"].values()),
        figures.HOST_CONTROL_PLANE: [host[name] for name in CONTROL_PLANE],
        # All of the pod: what a tenant's control plane costs.
        figures.VIRTUAL_CONTROL_PLANE: list(virtual.values()),
        "centre": [groups["loft"]["loft.cmd.server"]],
        "centre's Envoy": [groups["loft"]["envoy"]],
        "agent": [groups["loft-agent"]["loft.cmd.agent"]],
        "agent's Envoy": [groups["loft-agent"]["envoy"]],
        "embedded daemon": [host["daemon"]],
    }
    for name, pids in parts.items():
        measure.record(f"{name}: memory", [sum(used[pid][0].written for pid in pids) / processes.MEGABYTE], "MB")
        measure.record(f"{name}: idle processor", [sum(used[pid][1] for pid in pids)], "s/min")


if __name__ == "__main__":
    main()
