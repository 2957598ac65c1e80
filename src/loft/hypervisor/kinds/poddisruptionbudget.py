"""PodDisruptionBudget: drains of host nodes respect it as the number of pods that must stay.

The disruption controller inside knows what a percentage is of, for it sees the Deployments; on the host pods belong
to nothing. So what it says must stay healthy becomes the host's `minAvailable`, and follows it. Its status is right
inside already: host and virtual Pods are healthy together, so nothing comes back.
Source: kubernetes.io/docs/tasks/run-application/configure-pdb ("arbitrary workloads": an integer minAvailable only).
"""

from __future__ import annotations

from typing import Any

from loft.core.resource import PODDISRUPTIONBUDGETS
from loft.hypervisor.core import objects
from loft.hypervisor.core.mapping import ABSENT, At, Compute, Copy, Ignore, LabelSelector, Mapping, Pair
from loft.hypervisor.core.objects import Object
from loft.hypervisor.core.side import Step


def must_stay(budget: Object) -> int | None:
    """Return how many pods must stay healthy, None while nobody has counted what that is."""
    wanted = objects.spec(budget).get("minAvailable")
    if isinstance(wanted, int):
        return wanted
    status = objects.status(budget)
    generation = objects.metadata(budget).get("generation")
    # The disruption controller shows that it failed to count by a condition, and leaves zero behind.
    is_counted = objects.find_condition(budget, "DisruptionAllowed").get("reason") not in (None, "SyncFailed")
    if generation is None or status.get("observedGeneration") != generation or not is_counted:
        return None
    desired = status.get("desiredHealthy")
    return desired if isinstance(desired, int) else None


def min_available(value: Any, at: At) -> Any:
    """Return the number for the host."""
    number = must_stay(at.scope.source)
    return ABSENT if number is None else number


def wait_for_the_count(pair: Pair) -> list[Step] | None:
    """Leave the host as it is until the number is known; only the end of a budget does not wait."""
    if objects.is_deleting(pair.virtual) or must_stay(pair.virtual) is not None:
        return None
    return []


PODDISRUPTIONBUDGET = Mapping(
    resource=PODDISRUPTIONBUDGETS,
    to_host=(
        LabelSelector("spec.selector"),
        Compute("spec.minAvailable", min_available),
        Ignore("spec.maxUnavailable"),
        Copy("spec.unhealthyPodEvictionPolicy"),
    ),
    lifecycle=wait_for_the_count,
)
