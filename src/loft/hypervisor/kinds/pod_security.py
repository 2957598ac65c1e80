"""The three Pod Security levels of a virtual cluster, of which the host's owner chooses one.

`baseline` refuses what has power over a node that others share, field by field. `restricted` demands more, and is about
containers as a whole: a field that is absent can be what is wrong. `privileged` lifts the rules of baseline, for hosts
that a tenant has alone.
Source: kubernetes.io/docs/concepts/security/pod-security-standards, as of 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Guard, Refusal
from loft.hypervisor.core.objects import Object

BASELINE, RESTRICTED, PRIVILEGED = "baseline", "restricted", "privileged"
LEVELS = (BASELINE, RESTRICTED, PRIVILEGED)
RULE = "not allowed by Pod Security restricted"

_PROFILES = ("RuntimeDefault", "Localhost")
_ADDABLE = ("NET_BIND_SERVICE",)


def baseline_guard(path: str, allowed: Callable[[Any], bool], rule: str) -> Guard:
    """Return a rule of the level `baseline`."""
    return Guard(path, allowed, rule, lifted_by=PRIVILEGED)


def pod_refusals(pod: Object, context: Context) -> list[Refusal]:
    """Return what the level `restricted` does not allow of a Pod, but for its ephemeral containers."""
    if context.settings.pod_security != RESTRICTED or _is_windows(pod):
        return []
    found = list(_pod_level(objects.spec(pod).get("securityContext") or {}))
    for field in ("initContainers", "containers"):
        for index, container in enumerate(objects.spec(pod).get(field) or ()):
            found += _container(container, f"spec.{field}[{index}]", pod)
    return found


def container_refusals(container: Object, path: str, pod: Object, context: Context) -> list[Refusal]:
    """Return what the level `restricted` does not allow of one (ephemeral) container."""
    if context.settings.pod_security != RESTRICTED or _is_windows(pod):
        return []
    return list(_container(container, path, pod))


def _is_windows(pod: Object) -> bool:
    return (objects.spec(pod).get("os") or {}).get("name") == "windows"


def _pod_level(security: Object) -> Iterator[Refusal]:
    if security.get("runAsUser") == 0:
        yield Refusal("spec.securityContext.runAsUser", f"{RULE}: must not be 0")


def _container(container: Object, path: str, pod: Object) -> Iterator[Refusal]:
    own, path = container.get("securityContext") or {}, f"{path}.securityContext"
    whole = objects.spec(pod).get("securityContext") or {}
    if own.get("allowPrivilegeEscalation") is not False:
        yield Refusal(f"{path}.allowPrivilegeEscalation", f"{RULE}: must be false")
    if own.get("runAsUser") == 0:
        yield Refusal(f"{path}.runAsUser", f"{RULE}: must not be 0")
    if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
        yield Refusal(f"{path}.runAsNonRoot", f"{RULE}: must be true here or for the pod")
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield Refusal(f"{path}.capabilities.drop", f"{RULE}: must have ALL")
    if any(item not in _ADDABLE for item in capabilities.get("add") or ()):
        yield Refusal(f"{path}.capabilities.add", f"{RULE}: only NET_BIND_SERVICE may be added")
    profile = own.get("seccompProfile") or whole.get("seccompProfile") or {}
    if profile.get("type") not in _PROFILES:
        yield Refusal(
            f"{path}.seccompProfile.type", f"{RULE}: must be RuntimeDefault or Localhost, here or for the pod"
        )
