"""Our charts as Helm renders them: rights are no wider than said, pods are hardened, values are closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loft.helm.binary import Helm, HelmError, useful_line
from loft.helm.charts import chart_path


def render(chart: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    return asyncio.run(Helm(None).template(chart, "loft", chart_path(chart), values or {}))


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def test_the_impersonator_may_do_nothing_but_impersonate() -> None:
    role = one(render("loft-agent"), "ClusterRole", "loft-agent-impersonator")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"impersonate"}


@pytest.mark.parametrize(("chart", "name"), [("loft", "loft"), ("loft-agent", "loft-agent")])
def test_controllers_have_no_wildcards_and_read_no_secret_of_others(chart: str, name: str) -> None:
    role = one(render(chart), "ClusterRole", name)
    for rule in role["rules"]:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert "secrets" not in rule["resources"]
        assert "escalate" not in rule["verbs"] and "impersonate" not in rule["verbs"]


@pytest.mark.parametrize(("chart", "name"), [("loft", "loft"), ("loft-agent", "loft-agent")])
def test_pods_are_hardened(chart: str, name: str) -> None:
    pod = one(render(chart), "Deployment", name)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_deployer_holds_all_that_the_chart_gives_away() -> None:
    """Otherwise the API server refuses the chart's Role (no one gives more than they have)."""
    values = {"serviceCIDR": "10.96.0.0/16", "agent": {"serviceAccount": {"name": "a", "namespace": "loft"}}}
    given = [item for item in render("virtualcluster", values) if item["kind"] == "Role"]
    held = {
        (group, resource, verb)
        for rule in one(render("loft-agent"), "ClusterRole", "loft-vc-deployer")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    wanted = {
        (group, resource, verb)
        for role in given
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert wanted - held == set()


@pytest.mark.parametrize("chart", ["loft", "loft-agent"])
def test_an_unknown_value_is_refused(chart: str) -> None:
    with pytest.raises(HelmError, match=r"(?i)additional propert.*nonsense|nonsense"):
        render(chart, {"nonsense": 1})


def test_the_line_that_helps_is_found() -> None:
    text = b"coalesce.go:1: warning\nError: values don't meet\n- storage.size: Does not match\n"
    assert useful_line(text) == "values don't meet - storage.size: Does not match"
