"""From the creation of a virtual cluster to its API being usable, with a pod's start on the host as baseline.

Both are measured in turn, by the same kubectl; the virtual cluster is created by its object, as the platform does.
"""

from __future__ import annotations

import statistics
import time

import measure
from pod_ready import Pods

RUNS = 5


def main() -> None:
    """Create some virtual clusters, one after the other."""
    layout = measure.running_cluster()
    usable: list[float] = []
    with Pods(lambda *words, **more: measure.kubectl(layout, *words, **more)) as pods:
        ready = []
        for number in range(RUNS):
            ready += measure.timed(pods.start, runs=1, warmup=0)
            began = time.perf_counter()
            with measure.virtual_cluster(layout, f"create-{number}"):
                usable.append(time.perf_counter() - began)
    measure.show("pod: apply -> Ready, host (baseline)", ready)
    measure.show("virtual cluster: create -> API usable", usable)
    print(f"ratio {statistics.median(usable) / statistics.median(ready):.1f}")


if __name__ == "__main__":
    main()
