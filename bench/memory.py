"""Private memory and processor time of each process of an idle cluster.

Private memory is RssAnon: what a process would not share with another of its kind. The baseline is a bare
Python process in the same run.
"""

from __future__ import annotations

import subprocess
import sys
import time

import measure

IDLE_S = 30.0


def main() -> None:
    """Look at every process twice, half a minute apart."""
    layout = measure.running_cluster()
    bare = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        found = measure.pids(layout) | {"python (baseline)": bare.pid}
        found["daemon"] = int((layout.directory / "daemon.lock").read_text())
        before = {name: measure.cpu_seconds(pid) for name, pid in found.items()}
        time.sleep(IDLE_S)
        for name, pid in found.items():
            spent = (measure.cpu_seconds(pid) - before[name]) * 60 / IDLE_S
            print(f"{name:28} private {measure.private_bytes(pid) / 1e6:7.1f} MB   cpu {spent:6.2f} s/min")
    finally:
        bare.kill()
        bare.wait()


if __name__ == "__main__":
    main()
