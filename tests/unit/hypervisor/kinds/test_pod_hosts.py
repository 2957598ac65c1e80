"""/etc/hosts of a Pod with a subdomain: what is in it, who mounts it, and that the tenant sees no container of ours."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Pair
from loft.hypervisor.core.names import Names
from loft.hypervisor.kinds.pod_hosts import with_hosts, without_hosts
from loft.hypervisor.settings import Settings

BODY = {"metadata": {}, "spec": {"containers": [{"name": "main"}], "initContainers": [{"name": "first"}]}}


def made(image: str = "loft:1", **spec: Any) -> dict[str, Any]:
    virtual = {"metadata": {"name": "web-0", "namespace": "shop"}, "spec": BODY["spec"] | spec}
    settings = Settings(name="dev", host_namespace="vc", hosts_image=image)
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC))
    return with_hosts(BODY, Pair(virtual, None, Names("dev", "vc"), context))["spec"]


@pytest.mark.parametrize(
    ("image", "spec"), [("", {"subdomain": "web"}), ("loft:1", {}), ("loft:1", {"subdomain": "w", "hostNetwork": True})]
)
def test_a_pod_keeps_the_kubelets_file(image: str, spec: dict[str, Any]) -> None:
    assert made(image, **spec) == BODY["spec"]


def test_the_file_is_written_first_and_mounted_by_all() -> None:
    spec = made(subdomain="web")
    assert [item["name"] for item in spec["initContainers"]] == ["loft-hosts", "first"]
    for container in (spec["initContainers"][1], *spec["containers"]):
        assert container["volumeMounts"] == [{"name": "loft-hosts", "mountPath": "/etc/hosts", "subPath": "hosts"}]


def test_a_tenants_name_is_not_taken() -> None:
    spec = made(subdomain="web", volumes=[{"name": "loft-hosts", "emptyDir": {}}])
    assert spec["initContainers"][0]["name"] == spec["volumes"][-1]["name"] == "loft-hosts-x"


def test_the_file_has_every_address_and_alias(tmp_path: Path) -> None:
    alias = {"ip": "192.0.2.9", "hostnames": ["db", "db.example.com"]}
    init = made(subdomain="web", hostAliases=[alias])["initContainers"][0]
    environment = {item["name"]: item.get("value", "10.1.0.1,fd00::1") for item in init["env"]}
    command = [word.replace("/loft-hosts", str(tmp_path)) for word in init["command"]]
    subprocess.run(command, env=environment, check=True)
    lines = [line.split() for line in (tmp_path / "hosts").read_text().splitlines()]
    assert ["127.0.0.1", "localhost"] in lines
    assert lines[-3:] == [
        ["10.1.0.1", "web-0.web.shop.svc.cluster.local", "web-0"],
        ["fd00::1", "web-0.web.shop.svc.cluster.local", "web-0"],
        ["192.0.2.9", "db", "db.example.com"],
    ]


def test_the_tenant_sees_no_container_of_ours() -> None:
    virtual = {"spec": {"initContainers": [{"name": "first"}]}}
    wanted: dict[str, Any] = {"initContainerStatuses": [{"name": "loft-hosts"}, {"name": "first"}]}
    without_hosts(wanted, virtual)
    assert wanted == {"initContainerStatuses": [{"name": "first"}]}
    wanted = {"phase": "Running", "initContainerStatuses": [{"name": "loft-hosts"}]}
    without_hosts(wanted, {"spec": {}})
    assert wanted == {"phase": "Running"}
