"""From `kubectl apply` of a pod to its Ready condition, on the host cluster.

The baseline row is the smallest kubectl call in the same run, which is part of each measurement.
"""

from __future__ import annotations

import itertools

import measure

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: bench-{number}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: "loft.sh/demo:1", command: [sleep, "1000"]}}]
"""


def main() -> None:
    """Measure ten pods, one after the other."""
    layout = measure.running_cluster()
    numbers = itertools.count()

    def apply_and_wait() -> None:
        number = next(numbers)
        measure.kubectl(layout, "apply", "-f", "-", stdin=POD.format(number=number))
        measure.kubectl(layout, "wait", f"pod/bench-{number}", "--for=condition=Ready", "--timeout=60s")

    try:
        measure.show(
            "kubectl get (baseline)", measure.timed(lambda: measure.kubectl(layout, "get", "ns", "default"), runs=10)
        )
        measure.show("pod: apply -> Ready, host", measure.timed(apply_and_wait, runs=10))
    finally:
        for number in range(next(numbers)):
            measure.kubectl(
                layout, "delete", "pod", f"bench-{number}", "--ignore-not-found", "--grace-period=0", "--force"
            )


if __name__ == "__main__":
    main()
