"""Figures of Pods and Nodes inside: what is asked, who it is about, what a kubelet's summary says."""

from __future__ import annotations

from typing import Any

import pytest

from loft.hypervisor.metrics_plan import ROOT, Unsupported, answer, discovery, group_objects, parse, summary

WEB = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "main"}, {"name": "side"}]},
    "status": {"containerStatuses": [{"name": "main", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]},
}
DB = {
    "metadata": {"name": "db", "namespace": "other", "uid": "u2", "labels": {"app": "db"}},
    "spec": {"containers": [{"name": "main"}]},
}
FIGURES = {
    "metadata": {"name": "web-x-shop-x-dev", "labels": {"host": "label"}, "creationTimestamp": "2026-01-01T00:00:10Z"},
    "timestamp": "2026-01-01T00:00:10Z",
    "window": "15s",
    "containers": [
        {"name": "main", "usage": {"cpu": "250m", "memory": "64Mi"}},
        {"name": "side", "usage": {"cpu": "1500000n", "memory": "1Mi"}},
        {"name": "injected-by-the-host", "usage": {"cpu": "9", "memory": "9Gi"}},
    ],
}


def names(path: str, *query: tuple[str, str]) -> list[str]:
    body = answer(parse("GET", ROOT + path, query), [(WEB, FIGURES), (DB, FIGURES)])
    return [item["metadata"]["name"] for item in body["items"]]


def test_pods_are_picked_by_namespace_labels_and_fields() -> None:
    assert names("/pods") == ["web", "db"]
    assert names("/namespaces/shop/pods") == ["web"]
    assert names("/pods", ("labelSelector", "app=db")) == ["db"]
    assert names("/pods", ("labelSelector", "host=label")) == []
    assert names("/pods", ("fieldSelector", "metadata.name=web")) == ["web"]


def test_figures_carry_virtual_names_and_own_containers_only() -> None:
    body = answer(parse("GET", f"{ROOT}/namespaces/shop/pods/web", ()), [(WEB, FIGURES)])
    assert body["kind"] == "PodMetrics" and body["metadata"]["labels"] == {"app": "web"}
    assert [item["name"] for item in body["containers"]] == ["main", "side"]
    assert "x-dev" not in str(body) and "injected" not in str(body)


@pytest.mark.parametrize(
    ("method", "path", "query", "status"),
    [
        ("POST", ROOT, (), 405),
        ("GET", "/apis/metrics.k8s.io/v1", (), 404),
        ("GET", "/apis", (), 404),
        ("GET", f"{ROOT}/pods", (("watch", "true"),), 405),
        ("GET", f"{ROOT}/pods", (("labelSelector", "a in"),), 400),
        ("GET", f"{ROOT}/pods", (("fieldSelector", "spec.nodeName=a"),), 400),
        ("GET", f"{ROOT}/namespaces/a/pods/b/c", (), 404),
        ("GET", f"{ROOT}/secrets", (), 404),
    ],
)
def test_everything_else_is_refused(method: str, path: str, query: Any, status: int) -> None:
    with pytest.raises(Unsupported) as refused:
        parse(method, path, query)
    assert refused.value.status == status


def test_a_pod_without_figures_is_not_found() -> None:
    with pytest.raises(Unsupported) as refused:
        answer(parse("GET", f"{ROOT}/namespaces/shop/pods/nosuch", ()), [(WEB, FIGURES)])
    assert refused.value.status == 404


def test_nodes_are_described_only_where_they_may_be_read() -> None:
    assert [item["name"] for item in discovery(nodes=False)["resources"]] == ["pods"]
    assert [item["name"] for item in discovery(nodes=True)["resources"]] == ["pods", "nodes"]


def test_the_group_has_a_service_without_an_address() -> None:
    service, api_service = group_objects("Q0E=")
    assert service["spec"] == {"type": "ExternalName", "externalName": "hypervisor.invalid"}
    assert api_service["spec"]["service"]["name"] == service["metadata"]["name"]
    assert not api_service["spec"].get("insecureSkipTLSVerify")


def test_a_summary_knows_pods_without_figures_and_says_nothing_of_the_node() -> None:
    body = summary("node-a", [WEB, DB], [(WEB, FIGURES)])
    assert body["node"] == {"nodeName": "node-a"}
    web, db = body["pods"]
    assert web["podRef"] == {"name": "web", "namespace": "shop", "uid": "u1"}
    assert web["cpu"]["usageNanoCores"] == 251_500_000 and web["memory"]["workingSetBytes"] == 65 * 2**20
    assert web["containers"][0]["startTime"] == "2026-01-01T00:00:00Z"
    assert db["containers"] == [] and "cpu" not in db
