"""From `kubectl apply` of a pod to its Ready condition, and `logs` and `exec`: on the host and in a virtual cluster.

Host and virtual cluster take turns in the same run, with the same image; readiness is told by a watch that is open
before. The smallest kubectl call, which is part of each, is shown too. The virtual cluster is reached at its Service.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import figures
import measure
from watch import Watch

RUNS = 10
NAMESPACE = "bench-ready"
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: bench-{number}, namespace: bench-ready}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: "loft.sh/demo:1", command: [sh, -c, "echo started; exec sleep 1000"]}}]
"""


class Pods:
    """Starts pods in one cluster, in a namespace of their own; they are removed at the end."""

    def __init__(self, kubectl: Callable[..., str]) -> None:
        self.kubectl = kubectl
        self._numbers = itertools.count()
        self._stack = ExitStack()

    def start(self) -> None:
        """Apply one more pod and wait until it is Ready."""
        number = next(self._numbers)
        self.kubectl("apply", "-f", "-", stdin=POD.format(number=number))
        self._watch.until(lambda event: _is_ready(event["object"], f"bench-{number}"))

    def logs(self) -> None:
        """Read the log of the first pod. Raises: AssertionError."""
        output = self.kubectl("logs", "-n", NAMESPACE, "bench-0")
        assert output == "started\n", output

    def exec(self) -> None:
        """Run the smallest program in the first pod. Raises: AssertionError."""
        output = self.kubectl("exec", "-n", NAMESPACE, "bench-0", "--", "echo", "here")
        assert output == "here\n", output

    def get(self) -> None:
        """Do what is part of every call of kubectl."""
        self.kubectl("get", "namespace", "default")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(measure.namespace(self.kubectl, NAMESPACE))
            self._watch = stack.enter_context(Watch(self.kubectl, f"/api/v1/namespaces/{NAMESPACE}/pods"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _is_ready(pod: dict[str, Any], name: str) -> bool:
    conditions = pod["status"].get("conditions") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and bool(pod["metadata"]["name"] == name)


def main() -> None:
    """Measure both in turn."""
    layout = measure.running_cluster()
    found: dict[tuple[str, str], list[float]] = {}
    with (
        measure.virtual_cluster(layout, "pods") as inside,
        Pods(lambda *words, **more: measure.kubectl(layout, *words, **more)) as host,
        Pods(inside) as virtual,
    ):
        for turn, (place, pods) in enumerate((("host", host), ("virtual", virtual)) * (RUNS + 1)):
            steps = {
                figures.POD: pods.start,
                "kubectl logs": pods.logs,
                "kubectl exec": pods.exec,
                "kubectl get (part of each)": pods.get,
            }
            for what, step in steps.items():
                seconds = measure.timed(step, runs=1, warmup=0)
                if turn > 1:  # the first turn of each only warms up
                    found.setdefault((what, place), []).extend(seconds)
    for what in dict.fromkeys(what for what, _ in found):
        measure.show(f"{what}, host", found[what, "host"])
        measure.show(f"{what}, virtual", found[what, "virtual"])
        middle = [statistics.median(found[what, place]) for place in ("virtual", "host")]
        print(f"{'':46} ratio {middle[0] / middle[1]:.2f}, {(middle[0] - middle[1]) * 1000:+.0f} ms")


if __name__ == "__main__":
    main()
