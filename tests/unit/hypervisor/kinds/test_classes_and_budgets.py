"""Classes that Pods and claims name, and what of a budget is known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.hypervisor.config import ConfigError, parse_config
from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.definition import inside_definition
from loft.hypervisor.core.mapping import Scope
from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds.pod import POD
from loft.hypervisor.kinds.poddisruptionbudget import must_stay
from loft.hypervisor.kinds.volumesnapshot import VOLUMESNAPSHOTS
from loft.hypervisor.settings import Settings

Object = dict[str, Any]


@pytest.mark.parametrize(
    ("named", "crossed"),
    [
        ("offered", "offered"),
        ("other", None),
        ("system-node-critical", None),
        (None, None),
    ],
)
def test_priority_classes(named: str | None, crossed: str | None) -> None:
    settings = Settings(name="dev", host_namespace="vc", priority_classes=("offered", "system-node-critical"))
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), dns_ip="10.0.0.10")
    spec = {"containers": [{"name": "c", "image": "i"}], "priorityClassName": named, "priority": 7}
    virtual = {"metadata": {"name": "a", "namespace": "web", "uid": "u"}, "spec": spec}
    body, refusals = host_body(POD, virtual, Scope(Names("dev", "vc"), context, virtual, "web"))
    assert not refusals and "priority" not in body["spec"]
    assert body["spec"].get("priorityClassName") == crossed


def test_every_priority_cannot_be_offered_at_once() -> None:
    with pytest.raises(ConfigError, match="priorityClasses"):
        parse_config(b'{"name":"dev","namespace":"team","serviceCidr":"10.96.0.0/16","priorityClasses":["*"]}')


def budget(spec: Object, reason: str = "SufficientPods", **status: Any) -> Object:
    conditions = [{"type": "DisruptionAllowed", "status": "True", "reason": reason}]
    known = {"observedGeneration": 2, "desiredHealthy": 3, "conditions": conditions} | status
    return {"metadata": {"generation": 2}, "spec": spec, "status": known}


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (budget({"minAvailable": 5}), 5),
        (budget({"minAvailable": 0}), 0),
        (budget({"minAvailable": "50%"}), 3),
        (budget({"maxUnavailable": 1}), 3),
        (budget({"maxUnavailable": 1}, desiredHealthy=0), 0),
        (budget({"maxUnavailable": 1}, observedGeneration=1), None),
        (budget({"maxUnavailable": 1}, reason="SyncFailed"), None),
        (budget({"maxUnavailable": 1}, conditions=[]), None),
        ({"metadata": {"generation": 1}, "spec": {"maxUnavailable": 1}}, None),
    ],
)
def test_what_must_stay_is_known_when_it_was_counted(given: Object, number: int | None) -> None:
    assert must_stay(given) == number


def test_a_definition_has_one_version_and_nobody_elses_marks() -> None:
    host = {
        "metadata": {
            "name": "volumesnapshots.snapshot.storage.k8s.io",
            "uid": "u",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"api-approved.kubernetes.io": "yes", "secret": "x"},
        },
        "spec": {
            "group": "snapshot.storage.k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "VolumeSnapshot", "plural": "volumesnapshots", "categories": ["all"]},
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "https://platform"}}},
            "versions": [
                {"name": "v1", "served": True, "storage": False, "schema": {"a": 1}, "deprecated": True},
                {"name": "v2", "served": True, "storage": True, "schema": {"a": 2}},
            ],
        },
    }
    made = inside_definition(host, VOLUMESNAPSHOTS)
    assert made is not None and "conversion" not in made["spec"]
    assert made["metadata"]["annotations"] == {"api-approved.kubernetes.io": "yes"}
    assert made["spec"]["versions"] == [{"name": "v1", "served": True, "storage": True, "schema": {"a": 1}}]
    host["spec"]["versions"] = host["spec"]["versions"][1:]  # type: ignore[index]
    assert inside_definition(host, VOLUMESNAPSHOTS) is None
