"""Pod: the tenant's containers run on the host under the host's rules; the status comes back.

Three answers to a field: it crosses (listed), it stays inside because users expect it to be harmless (Ignore,
Fixed), or the Pod is refused with an Event that names field and rule (Guard, and every field nobody lists).
"""

from __future__ import annotations

from typing import Any

from loft.core.diff import covers
from loft.core.resource import PODS
from loft.hypervisor.core import baseline, objects
from loft.hypervisor.core.body import is_current, metadata_patch
from loft.hypervisor.core.mapping import At, Compute, Copy, Fixed, Guard, HostPatch, Ignore, Mapping, Pair, Ref
from loft.hypervisor.core.objects import Object
from loft.hypervisor.kinds.classes import priority_class
from loft.hypervisor.kinds.networkpolicy import ruled_labels
from loft.hypervisor.kinds.pod_containers import CONTAINERS
from loft.hypervisor.kinds.pod_env import downward_annotations
from loft.hypervisor.kinds.pod_ephemeral import FIELD as EPHEMERAL
from loft.hypervisor.kinds.pod_ephemeral import ephemeral_containers, missing, without_ephemeral
from loft.hypervisor.kinds.pod_hosts import with_hosts
from loft.hypervisor.kinds.pod_lifecycle import FORCED_S, lifecycle
from loft.hypervisor.kinds.pod_network import dns_config, dns_policy, hostname, hostname_override, is_fqdn_possible
from loft.hypervisor.kinds.pod_placement import PLACEMENT
from loft.hypervisor.kinds.pod_security import baseline_guard, pod_refusals
from loft.hypervisor.kinds.pod_status import STATUS, back
from loft.hypervisor.kinds.pod_volumes import references, volumes

_SECURITY = "spec.securityContext"
_RUNTIME = "runtime classes of the host cluster are not offered"
_CLAIMS = "dynamic resource allocation is not synced to the host"


def service_account(value: Any, at: At) -> str:
    """Return the host ServiceAccount without rights; the tenant's own acts at the virtual API server only."""
    return at.scope.context.settings.service_account


def update(wanted: Object, host: Object, mapping: Mapping) -> list[HostPatch]:
    """Change what Kubernetes lets change on a Pod.

    These are images, resources (resize), new ephemeral containers, the deadline, labels, and our annotations.
    """
    change = metadata_patch(wanted, host)
    if is_current(wanted, host):
        return [("strategic", "", change)] if change else []
    sizes, images = _containers(wanted, host)
    deadline = wanted["spec"].get("activeDeadlineSeconds")
    if deadline is not None and deadline != objects.spec(host).get("activeDeadlineSeconds"):
        images["activeDeadlineSeconds"] = deadline
    if images:
        change["spec"] = images
    patches: list[HostPatch] = []
    added = missing(wanted, host)
    if added:
        patches.append(("strategic", EPHEMERAL.lower(), {"spec": {EPHEMERAL: added}}))
    if sizes:
        patches.append(("strategic", "resize", {"spec": sizes}))
    if not patches:
        return [("strategic", "", change)]
    # The digest goes last: what failed before it is tried again. What the host may refuse holds up nothing else.
    digest = change["metadata"]["annotations"].pop(objects.APPLIED)
    applied: HostPatch = ("strategic", "", {"metadata": {"annotations": {objects.APPLIED: digest}}})
    metadata = {field: value for field, value in change.pop("metadata").items() if value}
    change |= {"metadata": metadata} if metadata else {}
    first: list[HostPatch] = [("strategic", "", change)] if change else []
    return [*first, *patches, applied]


def _containers(wanted: Object, host: Object) -> tuple[Object, Object]:
    """Return the resources and the images that differ, as strategic patches by container name."""
    sizes: Object = {}
    whole = wanted["spec"].get("resources")
    if whole and not covers(objects.spec(host).get("resources"), whole):
        sizes["resources"] = whole
    images: Object = {}
    for field in ("containers", "initContainers"):
        have = {item["name"]: item for item in objects.spec(host).get(field) or ()}
        for item in wanted["spec"].get(field) or ():
            there = have.get(item["name"])
            if there is None:
                continue
            if item.get("image") != there.get("image"):
                images.setdefault(field, []).append({"name": item["name"], "image": item.get("image")})
            if not covers(there.get("resources") or {}, item.get("resources") or {}):
                sizes.setdefault(field, []).append({"name": item["name"], "resources": item["resources"]})
    return sizes, images


def at_creation(body: Object, pair: Pair) -> Object:
    """Return the body to create a Pod with."""
    return with_hosts(without_ephemeral(body), pair)


def changeable(body: Object) -> Any:
    """Return the part of a host body that can change later; the rest (Service variables, say) is of its creation."""
    spec = body["spec"]
    containers = [
        [item.get("name"), item.get("image"), item.get("resources")]
        for field in ("containers", "initContainers", EPHEMERAL)
        for item in spec.get(field) or ()
    ]
    metadata = body["metadata"]
    annotations = {key: value for key, value in metadata["annotations"].items() if key != objects.APPLIED}
    return [metadata["labels"], annotations, containers, spec.get("resources"), spec.get("activeDeadlineSeconds")]


def refused_status(virtual: Object, message: str) -> Object | None:
    """Show why a Pod stays Pending where people look: in its PodScheduled condition.

    A Pod that has begun keeps that condition; what cannot be changed any more is told by the Event alone.
    """
    if objects.status(virtual).get("startTime"):
        return None
    wanted = {"type": "PodScheduled", "status": "False", "reason": "SyncRefused", "message": message}
    if covers(objects.find_condition(virtual, "PodScheduled"), wanted):
        return None
    others = [item for item in objects.status(virtual).get("conditions") or () if item.get("type") != "PodScheduled"]
    return {"conditions": [*others, wanted]}


POD = Mapping(
    resource=PODS,
    to_host=(
        *CONTAINERS,
        *PLACEMENT,
        Compute("spec.volumes", volumes),
        Copy(
            "spec.{restartPolicy,terminationGracePeriodSeconds,activeDeadlineSeconds,shareProcessNamespace,hostUsers}"
        ),
        Copy("spec.resources.{limits,requests}"),
        Copy("spec.os.name"),
        Copy("spec.hostAliases[*].{ip,hostnames}"),
        Ref("spec.imagePullSecrets[*].name"),
        Compute("spec.serviceAccountName", service_account),
        Fixed("spec.automountServiceAccountToken", False),
        Fixed("spec.enableServiceLinks", False),
        Compute("spec.hostname", hostname),
        Compute("spec.hostnameOverride", hostname_override),
        Compute("spec.setHostnameAsFQDN", is_fqdn_possible),
        Compute("spec.ephemeralContainers", ephemeral_containers),
        Copy("spec.readinessGates[*].conditionType"),
        Compute("spec.dnsPolicy", dns_policy),
        Compute("spec.dnsConfig", dns_config),
        Compute("spec.priorityClassName", priority_class),
        Ignore("spec.{serviceAccount,subdomain,priority,preemptionPolicy,schedulingGates}"),
        baseline_guard("spec.{hostNetwork,hostPID,hostIPC}", baseline.unset, baseline.HOST_FIELD),
        Guard("spec.{runtimeClassName,overhead}", baseline.unset, _RUNTIME),
        Guard("spec.{resourceClaims}", baseline.unset, _CLAIMS),
        Copy(_SECURITY + ".{runAsUser,runAsGroup,runAsNonRoot,supplementalGroups,supplementalGroupsPolicy}"),
        Copy(_SECURITY + ".{fsGroup,fsGroupChangePolicy,seLinuxChangePolicy}"),
        baseline_guard(_SECURITY + ".sysctls[*].name", baseline.is_sysctl, baseline.RULE),
        Copy(_SECURITY + ".sysctls[*].value"),
        baseline_guard(_SECURITY + ".seLinuxOptions.type", baseline.is_selinux_type, baseline.RULE),
        baseline_guard(_SECURITY + ".seLinuxOptions.{user,role}", baseline.unset, baseline.RULE),
        Copy(_SECURITY + ".seLinuxOptions.level"),
        baseline_guard(_SECURITY + ".{seccompProfile,appArmorProfile}.type", baseline.is_profile, baseline.RULE),
        Copy(_SECURITY + ".{seccompProfile,appArmorProfile}.localhostProfile"),
        baseline_guard(_SECURITY + ".windowsOptions", baseline.unset, baseline.RULE),
    ),
    to_virtual=STATUS,
    labels=ruled_labels,
    annotations=downward_annotations,
    references=references,
    lifecycle=lifecycle,
    checks=pod_refusals,
    update=update,
    at_creation=at_creation,
    # A virtual Pod that was bound goes after its host Pod, unless it was removed by force.
    orphan_grace_s=FORCED_S,
    digested=changeable,
    refused_status=refused_status,
    back=back,
)
