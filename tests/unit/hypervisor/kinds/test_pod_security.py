"""The Pod Security levels: what each lets through, and that ours own DNS runs under the strictest."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Scope
from loft.hypervisor.core.names import Names
from loft.hypervisor.dns import dns_objects
from loft.hypervisor.kinds.pod import POD
from loft.hypervisor.settings import Settings

STRICT: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "main",
            "image": "demo",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


def translated(spec: dict[str, Any], level: str) -> tuple[dict[str, Any], list[str]]:
    settings = Settings(name="dev", host_namespace="vc", pod_security=level)
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), dns_ip="10.0.0.10")
    virtual = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": spec}
    body, refusals = host_body(POD, virtual, Scope(Names("dev", "vc"), context, virtual, "default"))
    return body["spec"], [refusal.field for refusal in refusals]


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(STRICT)
    part: Any = spec
    for step in path[:-1]:
        part = part.setdefault(step, {}) if isinstance(part, dict) else part[step]
    part[path[-1]] = value
    return spec


MAIN = ("containers", 0, "securityContext")


def test_what_restricted_asks_for_passes_everywhere() -> None:
    for level in ("baseline", "restricted", "privileged"):
        assert translated(STRICT, level)[1] == []


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ((*MAIN, "allowPrivilegeEscalation"), None, "spec.containers[0].securityContext.allowPrivilegeEscalation"),
        ((*MAIN, "allowPrivilegeEscalation"), True, "spec.containers[0].securityContext.allowPrivilegeEscalation"),
        ((*MAIN, "capabilities"), {"drop": ["NET_RAW"]}, "spec.containers[0].securityContext.capabilities.drop"),
        (
            (*MAIN, "capabilities"),
            {"drop": ["ALL"], "add": ["CHOWN"]},
            "spec.containers[0].securityContext.capabilities.add",
        ),
        ((*MAIN, "runAsUser"), 0, "spec.containers[0].securityContext.runAsUser"),
        ((*MAIN, "runAsNonRoot"), False, "spec.containers[0].securityContext.runAsNonRoot"),
        (("securityContext", "runAsUser"), 0, "spec.securityContext.runAsUser"),
        (("securityContext", "runAsNonRoot"), None, "spec.containers[0].securityContext.runAsNonRoot"),
        (("securityContext", "seccompProfile"), None, "spec.containers[0].securityContext.seccompProfile.type"),
    ],
)
def test_what_only_restricted_refuses(path: tuple[Any, ...], value: Any, field: str) -> None:
    spec = changed(path, value)
    assert translated(spec, "restricted")[1] == [field]
    assert translated(spec, "baseline")[1] == []


def test_init_and_ephemeral_containers_are_restricted_too() -> None:
    bare = {"name": "bare", "image": "demo"}
    spec = STRICT | {"initContainers": [bare], "ephemeralContainers": [bare]}
    host, fields = translated(spec, "restricted")
    assert {field.split(".")[1] for field in fields} == {"initContainers[0]", "ephemeralContainers[0]"}
    assert "ephemeralContainers" not in host
    assert translated(spec, "baseline")[1] == []


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("hostNetwork",), True, "spec.hostNetwork"),
        (("hostPID",), True, "spec.hostPID"),
        ((*MAIN, "privileged"), True, "spec.containers[0].securityContext.privileged"),
        ((*MAIN, "procMount"), "Unmasked", "spec.containers[0].securityContext.procMount"),
        (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}], "spec.containers[0].ports[0].hostPort"),
        (("volumes",), [{"name": "h", "hostPath": {"path": "/", "type": "Directory"}}], "spec.volumes[0].hostPath"),
        (("volumes",), [{"name": "i", "image": {"reference": "a/b", "pullPolicy": "Always"}}], "spec.volumes[0].image"),
    ],
)
def test_what_privileged_alone_lets_through(path: tuple[Any, ...], value: Any, field: str) -> None:
    spec = changed(path, value)
    assert translated(spec, "baseline")[1] == [field]
    host, fields = translated(spec, "privileged")
    assert fields == []
    part: Any = host
    for step in path:
        part = part[step]
    assert part == value


def test_privileged_still_refuses_what_nobody_listed() -> None:
    assert translated(STRICT | {"brandNewField": 1}, "privileged")[1] == ["spec.brandNewField"]


def test_on_the_hosts_network_names_are_the_hosts_unless_asked_otherwise() -> None:
    host, _ = translated(STRICT | {"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, "privileged")
    assert host["dnsPolicy"] == "Default" and "dnsConfig" not in host
    host, _ = translated(STRICT | {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, "privileged")
    assert host["dnsPolicy"] == "None" and host["dnsConfig"]["nameservers"] == ["10.0.0.10"]


def test_dns_of_a_virtual_cluster_meets_restricted() -> None:
    deployment = next(item for item in dns_objects("dns:1", replicas=1, domain="d") if item["kind"] == "Deployment")
    assert translated(deployment["spec"]["template"]["spec"], "restricted")[1] == []
