"""Variables of a container: the tenant's, in virtual names, and those of the virtual cluster's Services."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Refused
from loft.hypervisor.kinds.pod_env import downward_annotations, field_path, format_map, service_variables
from loft.hypervisor.settings import Settings

API = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def variables(services: list[dict[str, Any]], **spec: Any) -> dict[str, str]:
    settings = Settings(name="dev", host_namespace="vc", api_service_ip="10.0.0.1")
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), services=tuple(services))
    return dict(service_variables({"spec": spec}, context))


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"clusterIP": "10.0.0.5", "ports": [{"port": 80}]} | spec}


def test_the_api_server_is_the_virtual_one_whatever_the_tenant_has() -> None:
    found = variables([service("kubernetes", clusterIP="10.9.9.9")])
    assert found.items() >= API.items()
    assert found["KUBERNETES_PORT_443_TCP_ADDR"] == "10.0.0.1"


def test_service_links_can_be_turned_off_but_not_the_api_server() -> None:
    found = variables([service("db")], enableServiceLinks=False)
    assert found.items() >= API.items() and "DB_SERVICE_HOST" not in found


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"clusterIP": ""}, {"type": "ExternalName"}, {"ports": []}])
def test_services_without_an_address_or_port_have_no_variables(spec: dict[str, Any]) -> None:
    assert not [name for name in variables([service("db", **spec)]) if name.startswith("DB")]


def test_names_and_addresses_as_a_kubelet_writes_them() -> None:
    ports = [{"name": "my-port", "port": 53, "protocol": "UDP"}]
    found = variables([service("my-db", clusterIP="fd00::5", ports=ports)])
    assert found["MY_DB_SERVICE_HOST"] == "fd00::5"
    assert found["MY_DB_SERVICE_PORT_MY_PORT"] == "53"
    assert found["MY_DB_PORT"] == "udp://[fd00::5]:53"
    assert found["MY_DB_PORT_53_UDP_PROTO"] == "udp"


@pytest.mark.parametrize(
    ("virtual", "host"),
    [
        ("metadata.name", "metadata.annotations['vcluster.loft.sh/object-name']"),
        ("metadata.labels", "metadata.annotations['vcluster.loft.sh/labels']"),
        ("metadata.labels['app']", "metadata.labels['label.vcluster.loft.sh/app']"),
        ("metadata.annotations['a']", "metadata.annotations['annotation.vcluster.loft.sh/a']"),
        ("status.podIP", "status.podIP"),
        ("spec.nodeName", "spec.nodeName"),
    ],
)
def test_a_field_path_points_to_the_virtual_value(virtual: str, host: str) -> None:
    assert field_path(virtual) == host


def test_a_host_annotation_cannot_be_read_by_its_host_name() -> None:
    path = field_path("metadata.annotations['vcluster.loft.sh/object-uid']")
    assert path.startswith("metadata.annotations['annotation.vcluster.loft.sh/object-uid-x-")


@pytest.mark.parametrize("path", ["metadata.ownerReferences", "spec.serviceAccountName.x", "status.hostIPX", ""])
def test_an_unknown_field_path_is_refused(path: str) -> None:
    with pytest.raises(Refused):
        field_path(path)


def test_maps_are_written_as_the_downward_api_writes_them() -> None:
    assert format_map({"b": 'say "hi"\n', "a": "1"}) == 'a="1"\nb="say \\"hi\\"\\n"'


def test_only_annotations_that_are_read_are_on_the_host() -> None:
    container = {
        "name": "c",
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['a']"}}}],
    }
    pod = {"metadata": {"annotations": {"a": "1", "b": "2"}}, "spec": {"containers": [container]}}
    assert downward_annotations(pod) == {"annotation.vcluster.loft.sh/a": "1"}
