"""The virtual cluster's DNS is where everybody looks for it, and its pods pass the guards of tenants' pods."""

from __future__ import annotations

from datetime import UTC, datetime

from loft.hypervisor.core.body import host_body
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.mapping import Scope
from loft.hypervisor.core.names import Names
from loft.hypervisor.dns import dns_objects
from loft.hypervisor.kinds.pod import POD
from loft.hypervisor.settings import Settings


def test_pods_listen_on_the_port_that_network_policies_name() -> None:
    objects = {item["kind"]: item for item in dns_objects("coredns:1", replicas=1, domain="cluster.local")}
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    ports = {item["name"]: item["containerPort"] for item in pod["containers"][0]["ports"]}
    assert ports["dns"] == ports["dns-tcp"] == 53
    assert {port["port"] for port in objects["Service"]["spec"]["ports"]} >= {53}
    assert objects["ConfigMap"]["data"]["Corefile"].startswith(".:53 {")


def test_its_pods_cross_like_those_of_tenants() -> None:
    objects = {item["kind"]: item for item in dns_objects("coredns:1", replicas=1, domain="cluster.local")}
    template = objects["Deployment"]["spec"]["template"]
    virtual = {"metadata": {"name": "coredns", "namespace": "kube-system", "uid": "u"}, "spec": template["spec"]}
    context = Context(settings=Settings(name="dev", host_namespace="vc"), now=datetime(2026, 1, 1, tzinfo=UTC))
    body, refusals = host_body(POD, virtual, Scope(Names("dev", "vc"), context, virtual, "kube-system"))
    assert not refusals
    [sysctl] = body["spec"]["securityContext"]["sysctls"]
    assert sysctl == {"name": "net.ipv4.ip_unprivileged_port_start", "value": "53"}, "a port below 1024 without root"
