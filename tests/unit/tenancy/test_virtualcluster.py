"""Virtual clusters: which values a tenant may set, and what is done when."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from loft.api.meta import ObjectMeta
from loft.api.virtualcluster import (
    VirtualCluster,
    VirtualClusterHelmChart,
    VirtualClusterHelmRelease,
    VirtualClusterSpec,
)
from loft.core.action import Delete, Patch
from loft.core.resource import PODS, PVCS
from loft.tenancy.virtualcluster.plan import (
    FINALIZER,
    Deploy,
    DropRevision,
    Leftover,
    Observed,
    Release,
    RemoveDeployer,
    Uninstall,
    needs_release,
    plan,
)
from loft.tenancy.virtualcluster.status import status_of
from loft.tenancy.virtualcluster.values import Composed, Facts, Refusal, compose
from loft.tenancy.virtualcluster.watch import lean

FACTS = Facts(
    service_cidr="10.96.0.0/16",
    agent_namespace="loft",
    agent_service_account="loft-agent",
    chart_version="0.1.0",
    chart_digest="d1",
    defaults={"storage": {"size": "1Gi"}},
    fixed={"image": "loft.sh/loft:9"},
)
READY = {"status": {"readyReplicas": 1}}


def spec(values: str = "", **chart: str) -> VirtualClusterSpec:
    return VirtualClusterSpec(
        helm_release=VirtualClusterHelmRelease(values=values, chart=VirtualClusterHelmChart(**chart))
    )


def cluster(**metadata: object) -> VirtualCluster:
    given = {"name": "vc", "namespace": "space", "uid": "u1", "finalizers": [FINALIZER]} | metadata
    return VirtualCluster(metadata=ObjectMeta(**given), spec=spec())  # type: ignore[arg-type]


def wanted() -> Composed:
    found = compose(spec(), FACTS)
    assert isinstance(found, Composed)
    return found


def test_a_tenants_values_win_over_defaults_and_lose_against_the_platform() -> None:
    found = compose(spec("storage: {persistence: false}"), FACTS)
    assert isinstance(found, Composed)
    assert found.values["storage"] == {"size": "1Gi", "persistence": False}
    assert found.values["image"] == "loft.sh/loft:9"
    assert found.values["serviceCIDR"] == "10.96.0.0/16"
    assert found.values["agent"] == {"serviceAccount": {"namespace": "loft", "name": "loft-agent"}}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ("image: evil", "image"),
        ("kubernetes: {image: evil}", "kubernetes.image"),
        ("agent: {serviceAccount: {name: x}}", "agent.serviceAccount.name"),
        ("access: {}", "access"),
        ("hostNodes: {enabled: true}", "hostNodes.enabled"),
        ("serviceCIDR: 10.0.0.0/8", "serviceCIDR"),
        ("storage.evil: 1", "[storage.evil]"),
        ("storageClasses: ['*']", "storageClasses"),
        ("distribution: {image: evil/own:1}", "distribution.image"),
        ("hostServices: ['kube-system/*']", "hostServices"),
        ("externalEtcd: {endpoints: ['https://10.0.0.1:2379']}", "externalEtcd.endpoints"),
    ],
)
def test_what_a_tenant_may_not_set_is_refused_by_name(values: str, named: str) -> None:
    found = compose(spec(values), FACTS)
    assert isinstance(found, Refusal)
    assert found.reason == "ValueNotAllowed"
    assert f" {named} cannot be set" in found.message


@pytest.mark.parametrize("values", ["a: [", "- 1", "a: &x 1\nb: *x", "1: 2", "storage: 2020-01-01", "[" * 5000])
def test_values_that_are_no_json_map_are_refused(values: str) -> None:
    found = compose(spec(values), FACTS)
    assert isinstance(found, Refusal) and found.reason == "InvalidValues"


@pytest.mark.parametrize(
    "image", ["rancher/k3s:v1.21.2-k3s1", "docker.io/rancher/k3s:v1", "k0sproject/k0s:v1.30.2-k0s.0"]
)
def test_the_image_of_another_distribution_is_left_out_and_told(image: str) -> None:
    written = f"virtualCluster:\n  image: {image}\n  extraArgs: [--service-cidr=10.96.0.0/16]\n"
    found = compose(spec(written), FACTS)
    assert isinstance(found, Composed)
    assert found.values["virtualCluster"] == {"extraArgs": ["--service-cidr=10.96.0.0/16"]}
    assert f"virtualCluster.image {image} is not supported" in found.note
    ready = Observed(virtual_cluster=cluster(), deployed_digest=found.digest, stateful_set=READY)
    status = status_of(ready, found, FACTS, None, datetime(2026, 1, 1, tzinfo=UTC))
    assert (status.phase, status.control_plane_ready, status.message) == ("Deployed", True, found.note)
    (told,) = [condition for condition in status.conditions if condition.severity == "Warning"]
    assert (told.type, told.status, told.message) == ("DistributionAsWritten", "False", found.note)


def test_the_image_that_runs_instead_is_named_where_the_administrator_chose_one() -> None:
    facts = msgspec.structs.replace(FACTS, defaults={"distribution": {"image": "example.com/k8s:1"}})
    found = compose(spec("virtualCluster: {image: rancher/k3s:v1}"), facts)
    assert isinstance(found, Composed)
    assert found.note == "virtualCluster.image rancher/k3s:v1 is not supported: example.com/k8s:1 runs instead"


@pytest.mark.parametrize("values", ["virtualCluster: {image: evil/own:1}", "virtualCluster: {image: 7}"])
def test_any_other_image_is_for_the_chart_to_refuse(values: str) -> None:
    found = compose(spec(values), FACTS)
    assert isinstance(found, Composed)
    assert (found.note, "image" in found.values["virtualCluster"]) == ("", True)


@pytest.mark.parametrize("chart", [{"name": "vcluster"}, {"repo": "https://charts.example.com"}, {"version": "9.9.9"}])
def test_another_chart_is_refused(chart: dict[str, str]) -> None:
    found = compose(spec("", **chart), FACTS)
    assert isinstance(found, Refusal) and found.reason == "ChartNotSupported"
    assert next(iter(chart.values())) in found.message


def test_nothing_is_made_before_the_finalizer() -> None:
    decision = plan(Observed(virtual_cluster=cluster(finalizers=[])), FACTS)
    (step,) = decision.steps
    assert isinstance(step, Patch) and step.patch["metadata"]["finalizers"] == [FINALIZER]  # type: ignore[call-overload]


def test_it_is_deployed_once() -> None:
    observed = Observed(virtual_cluster=cluster())
    assert needs_release(observed, FACTS)
    (step,) = plan(observed, FACTS).steps
    assert isinstance(step, Deploy) and step.digest == wanted().digest
    done = Observed(virtual_cluster=cluster(), deployed_digest=wanted().digest, stateful_set=READY)
    assert not needs_release(done, FACTS)
    assert plan(done, FACTS).steps == ()


def test_an_interrupted_deployment_starts_over() -> None:
    release = Release(status="pending-install", digest="x", secret="s", uid="u")
    steps = plan(Observed(virtual_cluster=cluster(), release=release), FACTS).steps
    assert [type(step) for step in steps] == [DropRevision, Deploy]


def test_a_changed_chart_is_deployed_again() -> None:
    observed = Observed(virtual_cluster=cluster(), deployed_digest=wanted().digest, stateful_set=READY)
    (step,) = plan(observed, msgspec.structs.replace(FACTS, chart_digest="d2")).steps
    assert isinstance(step, Deploy)


def test_a_failure_waits() -> None:
    decision = plan(Observed(virtual_cluster=cluster(), retry_in_s=3.0), FACTS)
    assert decision.steps == () and decision.again_s == 3.0


def test_removal_goes_from_release_to_finalizer() -> None:
    going = cluster(deletion_timestamp="2026-01-01T00:00:00Z")
    release = Release(status="deployed", digest="", secret="s", uid="u")
    assert plan(Observed(virtual_cluster=going, release=release), FACTS).steps == (Uninstall(),)
    waiting = plan(Observed(virtual_cluster=going, control_plane_pods=("vc-0",)), FACTS)
    assert waiting.steps == () and waiting.again_s
    left = (
        Leftover(resource=PODS, name="p", uid="1"),
        Leftover(resource=PVCS, name="data-vc-0", uid="2", is_store=True),
    )
    steps = plan(Observed(virtual_cluster=going, leftovers=left), FACTS).steps
    assert [(step.name, step.uid) for step in steps if isinstance(step, Delete)] == [("p", "1"), ("data-vc-0", "2")]
    graces = [step.grace_s for step in steps if isinstance(step, Delete)]
    assert graces == [20, None], "a tenant's Pod with minutes of grace holds nothing up"
    last = plan(Observed(virtual_cluster=going), FACTS).steps
    assert [type(step) for step in last] == [RemoveDeployer, Patch]


def test_in_a_namespace_that_goes_only_the_finalizer_is_ours_to_remove() -> None:
    going = cluster(deletion_timestamp="2026-01-01T00:00:00Z")
    observed = Observed(virtual_cluster=going, namespace_is_going=True)
    assert not needs_release(observed, FACTS)
    assert [type(step) for step in plan(observed, FACTS).steps] == [Patch]


def test_a_retained_volume_stays() -> None:
    kept = msgspec.structs.replace(
        cluster(deletion_timestamp="2026-01-01T00:00:00Z"), spec=spec("storage: {retentionPolicy: Retain}")
    )
    left = (Leftover(resource=PVCS, name="data-vc-0", uid="2", is_store=True),)
    assert [type(step) for step in plan(Observed(virtual_cluster=kept, leftovers=left), FACTS).steps] == [
        RemoveDeployer,
        Patch,
    ]


def observed_with(problem: str, ready: int) -> Observed:
    annotations = {"loft.sh/problem": problem} if problem else {}
    seen = lean({"metadata": {"name": "vc", "annotations": annotations}, "status": {"readyReplicas": ready}})
    return Observed(virtual_cluster=cluster(), deployed_digest=wanted().digest, stateful_set=seen)


@pytest.mark.parametrize("ready", [0, 1])
def test_what_the_hypervisor_finds_wrong_is_the_clusters_reason_and_condition(ready: int) -> None:
    status = status_of(observed_with("StoreFull: no space", ready), wanted(), FACTS, None, datetime.now(UTC))
    assert (status.phase, status.reason, status.message) == ("Deployed", "StoreFull", "no space")
    (condition,) = [item for item in status.conditions if item.type == "ControlPlaneHealthy"]
    assert (condition.status, condition.reason, condition.severity) == ("False", "StoreFull", "Error")
    assert status.control_plane_ready is bool(ready)


@pytest.mark.parametrize("problem", ["", "no reason at all", "<b>: text"])
def test_without_a_reason_there_is_no_problem(problem: str) -> None:
    status = status_of(observed_with(problem, 1), wanted(), FACTS, None, datetime.now(UTC))
    assert status.reason == ""
    assert "ControlPlaneHealthy" not in {item.type for item in status.conditions}


@pytest.mark.parametrize(
    "values",
    ["kubernetes: {version: v1.35.4}", "expose: {service: {type: NodePort}}", "exportKubeConfig: {context: mine}"],
)
def test_tenants_choose_version_and_ways_from_outside(values: str) -> None:
    assert isinstance(compose(spec(values), FACTS), Composed)
