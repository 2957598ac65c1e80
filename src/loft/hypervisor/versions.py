"""Which version of Kubernetes may serve a store: the one that did, or that of the next minor version.

An older API server cannot read what a newer one has stored, and a skipped minor version may lack a conversion that
the store needs. What has served is noted on the Secret with the keys, which is there as long as the store; the chart
refuses by the same note at an upgrade, this module also where the chart was not asked (a rollback, a kept volume).
Source: kubernetes.io/releases/version-skew-policy.
"""

from __future__ import annotations

from loft.core.resource import SECRETS
from loft.hypervisor.config import Config
from loft.hypervisor.core import objects
from loft.kube.client import Client

ANNOTATION = "loft.sh/kubernetes-version"


def refusal(served: str, wanted: str, replicas: int) -> str:
    """Return why a version may not serve, "" when it may. Pure.

    Args:
        served: the newest version that has, "" for a new store.
        replicas: while several are upgraded one after the other, those that wait are one behind.
    """
    if not served:
        return ""
    last, now = _minor(served), _minor(wanted)
    if now < last - (1 if replicas > 1 else 0):
        return (
            f"Kubernetes {wanted} cannot read the store that {served} has written; set kubernetes.version to {served}"
        )
    if now > last + 1:
        return f"minor versions cannot be skipped from {served} to {wanted}; set kubernetes.version to v1.{last + 1}"
    return ""


def newest(served: str, wanted: str) -> str:
    """Return the later of two versions. Pure."""
    return max(served, wanted, key=lambda text: [int(part) for part in text.removeprefix("v").split(".") if part])


async def served_version(host: Client, config: Config) -> str:
    """Return the newest version that has served. Raises: ApiError."""
    secret = await host.find(SECRETS, f"vc-{config.name}-certs", config.namespace)
    return str(objects.annotations(secret or {"metadata": {}}).get(ANNOTATION, ""))


async def note_served(host: Client, config: Config) -> None:
    """Note that this version serves now. Raises: ApiError."""
    served = await served_version(host, config)
    version = newest(served, config.kubernetes_version)
    if version != served:
        patch = {"metadata": {"annotations": {ANNOTATION: version}}}
        await host.patch(SECRETS, f"vc-{config.name}-certs", patch, config.namespace)


def _minor(version: str) -> int:
    return int(version.split(".")[1])
