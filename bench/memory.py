"""Private memory and processor time of each process of an idle platform with one virtual cluster.

Private memory is RssAnon: what a process would not share with another of its kind. The baseline is a bare
Python process in the same run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import measure

SETTLE_S = 60.0
IDLE_S = 60.0


def main() -> None:
    """Look at every process twice, a minute apart."""
    layout = measure.running_cluster()
    bare = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with measure.virtual_cluster(layout, "memory"):
            time.sleep(SETTLE_S)
            groups = {
                "host": measure.pids(layout) | {"daemon": int((layout.directory / "daemon.lock").read_text())},
                "virtual cluster": measure.pod_processes("memory-0"),
                "baseline": {"python": bare.pid},
            }
            pods = json.loads(measure.kubectl(layout, "get", "pods", "-n", "loft", "-o", "json"))["items"]
            for pod in pods:
                name = pod["metadata"]["labels"]["app.kubernetes.io/name"]
                groups[name] = measure.pod_processes(pod["metadata"]["name"])
            report(groups)
    finally:
        bare.kill()
        bare.wait()


def report(groups: dict[str, dict[str, int]]) -> None:
    """Print memory and time of each process, and the sum of each group."""
    before = {pid: measure.cpu_seconds(pid) for processes in groups.values() for pid in processes.values()}
    time.sleep(IDLE_S)
    for group, processes in groups.items():
        total_bytes, total_s = 0, 0.0
        for name, pid in processes.items():
            spent_s = (measure.cpu_seconds(pid) - before[pid]) * 60 / IDLE_S
            size = measure.private_bytes(pid)
            total_bytes, total_s = total_bytes + size, total_s + spent_s
            print(f"{group:16} {name:26} private {size / 1e6:7.1f} MB   cpu {spent_s:6.2f} s/min")
        print(f"{group:16} {'together':26} private {total_bytes / 1e6:7.1f} MB   cpu {total_s:6.2f} s/min\n")


if __name__ == "__main__":
    main()
