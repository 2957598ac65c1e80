"""From `kubectl apply` of a pod to its Ready condition, and `logs` and `exec`: on the host and in a virtual cluster.

Host and virtual cluster take turns in the same run; the smallest kubectl call, which is part of each, is shown too.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from types import TracebackType
from typing import Self

import measure

RUNS = 10
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: bench-{number}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: "loft.sh/demo:1", command: [sleep, "1000"]}}]
"""


class Pods:
    """Starts pods in one cluster; they are removed at the end."""

    def __init__(self, kubectl: Callable[..., str]) -> None:
        self.kubectl = kubectl
        self._numbers = itertools.count()

    def start(self) -> None:
        """Apply one more pod and wait until it is Ready."""
        number = next(self._numbers)
        self.kubectl("apply", "-f", "-", stdin=POD.format(number=number))
        self.kubectl("wait", f"pod/bench-{number}", "--for=condition=Ready", "--timeout=60s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        names = [f"bench-{number}" for number in range(next(self._numbers))]
        self.kubectl("delete", "pod", *names, "none", "--ignore-not-found", "--grace-period=0", "--force")


def main() -> None:
    """Measure pods in both, one after the other."""
    layout = measure.running_cluster()
    found: dict[tuple[str, str], list[float]] = {}
    with (
        measure.virtual_cluster(layout, "pods") as inside,
        Pods(lambda *words, **more: measure.kubectl(layout, *words, **more)) as host,
        Pods(inside) as virtual,
    ):
        for place, pods in (("host", host), ("virtual", virtual)) * RUNS:
            steps = {
                "pod: apply -> Ready": pods.start,
                "kubectl logs": lambda pods=pods: pods.kubectl("logs", "bench-0"),
                "kubectl exec": lambda pods=pods: pods.kubectl("exec", "bench-0", "--", "true"),
                "kubectl get (part of each)": lambda pods=pods: pods.kubectl("get", "ns", "default"),
            }
            for what, step in steps.items():
                found.setdefault((what, place), []).extend(measure.timed(step, runs=1, warmup=0))
    for what in dict.fromkeys(what for what, _ in found):
        measure.show(f"{what}, host", found[what, "host"])
        measure.show(f"{what}, virtual", found[what, "virtual"])
        middle = [statistics.median(found[what, place]) for place in ("virtual", "host")]
        print(f"{'':40} ratio {middle[0] / middle[1]:.2f}, {(middle[0] - middle[1]) * 1000:+.0f} ms")


if __name__ == "__main__":
    main()
