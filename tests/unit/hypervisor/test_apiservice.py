"""`kubernetes.default` is the host Service of the virtual cluster."""

from loft.core.action import Create, Delete
from loft.hypervisor.apiservice import endpoint_objects, plan_service


def test_the_api_servers_own_choice_is_replaced() -> None:
    spec = {"clusterIP": "10.96.0.1", "ports": [{"port": 443, "targetPort": 8443}]}
    first, second = plan_service({"metadata": {"uid": "u"}, "spec": spec}, "10.96.0.9")
    assert isinstance(first, Delete)
    assert first.uid == "u"
    assert isinstance(second, Create)
    assert second.body["spec"]["clusterIP"] == "10.96.0.9"
    assert plan_service(second.body, "10.96.0.9") == []


def test_a_missing_one_is_made() -> None:
    assert [type(action) for action in plan_service(None, "10.96.0.9")] == [Create]


def test_a_selector_would_send_pods_to_the_tenants_choice() -> None:
    body = plan_service(None, "10.96.0.9")[0].body  # type: ignore[union-attr]
    observed = {"metadata": {"uid": "u"}, "spec": {**body["spec"], "selector": {"app": "evil"}}}
    assert [type(action) for action in plan_service(observed, "10.96.0.9")] == [Delete, Create]


def test_endpoints_are_not_mirrored_a_second_time() -> None:
    endpoints, piece = endpoint_objects(["10.1.0.8", "10.1.0.7"])
    assert endpoints["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] == "true"
    assert [item["addresses"] for item in piece["endpoints"]] == [["10.1.0.7"], ["10.1.0.8"]]
