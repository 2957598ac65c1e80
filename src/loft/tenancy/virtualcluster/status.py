"""The status of a virtual cluster, as people and the command line read it. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from loft.api.meta import Condition
from loft.api.virtualcluster import (
    VirtualCluster,
    VirtualClusterHelmChart,
    VirtualClusterHelmRelease,
    VirtualClusterHelmReleaseStatus,
    VirtualClusterStatus,
)
from loft.tenancy.virtualcluster.plan import Observed, is_deployed, is_ready
from loft.tenancy.virtualcluster.release import release_name
from loft.tenancy.virtualcluster.values import CHART_NAME, Composed, Facts, Refusal

Object = dict[str, Any]
MESSAGE_LENGTH_MAX = 1024

READY, INITIALIZED = "Ready", "ControlPlaneInitialized"
CONTROL_PLANE, HELM = "ControlPlaneReady", "HelmChartDeployed"
OBJECTS = "ObjectsApplied"
DISTRIBUTION = "DistributionAsWritten"
HEALTHY = "ControlPlaneHealthy"
PROBLEM = "loft.sh/problem"
"""Annotation of the StatefulSet, `Reason: message`: what the hypervisor finds wrong with the control plane."""


def status_of(
    observed: Observed, wanted: Composed | Refusal, facts: Facts, pod: Object | None, now: datetime
) -> VirtualClusterStatus:
    """Return the status for what is observed.

    `pod` is the first pod of the control plane, for the reason why it does not start; None when not looked at.
    """
    cluster = observed.virtual_cluster
    old = cluster.status
    deployed = isinstance(wanted, Composed) and is_deployed(observed, wanted)
    running = is_ready(observed.stateful_set)
    phase, reason, message = _summary(observed, wanted, pod)
    was_initialized = any(condition.type == INITIALIZED and condition.status == "True" for condition in old.conditions)
    ready = phase == "Deployed" and running
    made = [
        _condition(READY, ready, reason, message),
        _condition(INITIALIZED, running or was_initialized, "" if running or was_initialized else reason, message),
        _condition(CONTROL_PLANE, running, reason, message),
        _condition(HELM, deployed, reason, message if not deployed else ""),
    ]
    if observed.objects_failure:
        made.append(_condition(OBJECTS, False, "ApplyFailed", observed.objects_failure))
    if problem := _problem(observed.stateful_set):
        made.append(_condition(HEALTHY, False, *problem))
    if isinstance(wanted, Composed) and wanted.note:
        other = _condition(DISTRIBUTION, False, "OtherDistribution", wanted.note)
        made.append(msgspec.structs.replace(other, severity="Warning"))
    return VirtualClusterStatus(
        phase=phase,
        reason=reason,
        message=message[:MESSAGE_LENGTH_MAX],
        control_plane_ready=running,
        conditions=[_timed(condition, old.conditions, now) for condition in made],
        observed_generation=cluster.metadata.generation,
        helm_release=_release(cluster, phase, (reason, message), facts, now),
    )


def _summary(observed: Observed, wanted: Composed | Refusal, pod: Object | None) -> tuple[str, str, str]:
    """Return phase, reason and message."""
    if isinstance(wanted, Refusal):
        return "Failed", wanted.reason, wanted.message
    if is_deployed(observed, wanted):
        problem = _problem(observed.stateful_set)
        if problem:
            return "Deployed", *problem
        if is_ready(observed.stateful_set):
            return "Deployed", "OtherDistribution" if wanted.note else "", wanted.note
        return "Deployed", "ControlPlaneStarting", _why_not(release_name(observed.virtual_cluster), pod)
    if observed.failure:
        return "Failed", "HelmFailed", f"the chart could not be deployed: {observed.failure}"
    return "Pending", "Deploying", "the control plane is being deployed"


def _problem(stateful_set: Object | None) -> tuple[str, str] | None:
    """Return reason and message of what the hypervisor found wrong."""
    reason, found, message = str((stateful_set or {}).get("problem") or "").partition(": ")
    return (reason, message) if found and reason.isalnum() else None


def _why_not(name: str, pod: Object | None) -> str:
    """Return why the control plane does not serve yet, in words of its pod."""
    if pod is None:
        return "the control plane is starting"
    status = pod.get("status") or {}
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"pod {name}-0 cannot be scheduled: {condition.get('message', '')}"
    containers = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "", "PodInitializing", "ContainerCreating"):
            detail = f"{waiting['reason']} {waiting.get('message', '')}".strip()
            return f"pod {name}-0, container {container.get('name')}: {detail}"
    return "the control plane is starting"


def _condition(kind: str, holds: bool, reason: str, message: str) -> Condition:
    if holds:
        return Condition(type=kind, status="True")
    return Condition(
        type=kind,
        status="False",
        reason=reason,
        message=message[:MESSAGE_LENGTH_MAX],
        severity="Error" if reason else "",
    )


def _timed(condition: Condition, old: list[Condition], now: datetime) -> Condition:
    """Keep the time of the last change when the status is the same as before."""
    before = next((entry for entry in old if entry.type == condition.type), None)
    if before is not None and before.status == condition.status and before.last_transition_time:
        return msgspec.structs.replace(condition, last_transition_time=before.last_transition_time)
    return msgspec.structs.replace(condition, last_transition_time=_text(now))


def _release(
    cluster: VirtualCluster, phase: str, why: tuple[str, str], facts: Facts, now: datetime
) -> VirtualClusterHelmReleaseStatus:
    old = cluster.status.helm_release
    given = cluster.spec.helm_release or VirtualClusterHelmRelease()
    release = VirtualClusterHelmRelease(
        chart=VirtualClusterHelmChart(name=CHART_NAME, version=facts.chart_version), values=given.values
    )
    if phase != "Deployed":
        # Failed to reach what is wished: what runs is what was deployed last.
        kept = old.release if old is not None else None
        made = VirtualClusterHelmReleaseStatus(
            phase=phase, reason=why[0], message=why[1][:MESSAGE_LENGTH_MAX], release=kept
        )
    else:
        made = VirtualClusterHelmReleaseStatus(phase=phase, release=release)
    changed = old is None or old.phase != made.phase
    time = _text(now) if changed or old is None else old.last_transition_time
    return msgspec.structs.replace(made, last_transition_time=time)


def _text(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
