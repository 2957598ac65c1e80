"""The CRDs at a real API server: what users write is accepted, what is wrong is refused with the field's path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integration.apiserver.bed import Bed

pytestmark = pytest.mark.integration

VIRTUAL_CLUSTER = """
apiVersion: storage.loft.sh/v1
kind: VirtualCluster
metadata:
  name: my-vcluster
  namespace: default
spec:
  helmRelease:
    values: >-
      virtualCluster:
        image: rancher/k3s:v1.21.2-k3s1
        extraArgs:
          - --service-cidr=10.96.0.0/16
"""
CLUSTER = """
apiVersion: {group}
kind: Cluster
metadata:
  name: test
  annotations:
    # Domain of the direct cluster endpoint
    loft.sh/direct-cluster-endpoint: my-direct-cluster-endpoint.com
    loft.sh/direct-cluster-endpoint-insecure: 'true'
    loft.sh/direct-cluster-endpoint-ca-data: LS0tLS1CRUdJTg==
spec:
  config: {{}}
"""


def test_a_virtual_cluster_as_in_the_documentation(bed: Bed) -> None:
    assert "created" in bed.kubectl("apply", "-f", "-", stdin=VIRTUAL_CLUSTER)
    shown = bed.get("virtualcluster", "my-vcluster")
    assert "rancher/k3s:v1.21.2-k3s1" in shown["spec"]["helmRelease"]["values"]
    assert bed.kubectl("get", "vcluster").split()[:4] == ["NAME", "PHASE", "READY", "AGE"]
    assert "Chart values as YAML text" in bed.kubectl(
        "explain", "virtualcluster.spec.helmRelease.values", "--api-version=storage.loft.sh/v1"
    )
    assert "deleted" in bed.kubectl("delete", "virtualcluster", "my-vcluster", "--namespace", "default")


@pytest.mark.parametrize("group", ["storage.loft.sh/v1", "management.loft.sh/v1"])
def test_a_cluster_with_a_direct_endpoint_as_in_the_documentation(bed: Bed, group: str) -> None:
    assert "created" in bed.kubectl("apply", "-f", "-", stdin=CLUSTER.format(group=group))
    assert "my-direct-cluster-endpoint.com" in bed.kubectl("get", "clusters.storage.loft.sh")
    bed.kubectl("delete", "clusters.storage.loft.sh", "test")


def test_a_management_cluster_through_the_gateway_as_in_the_documentation(bed: Bed) -> None:
    with bed.front("root", ("loft-admins",)) as kubectl:
        assert "created" in kubectl("apply", "-f", "-", stdin=CLUSTER.format(group="management.loft.sh/v1"))
        assert "deleted" in kubectl("delete", "cluster", "test")


def obj(kind: str, spec: Any, name: str = "bad", **more: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": "default"} if kind == "VirtualCluster" else {})
    return {"apiVersion": "storage.loft.sh/v1", "kind": kind, "metadata": metadata, "spec": spec} | more


HASH = "0" * 64


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (obj("AccessKey", {"user": "a"}), "spec.keyHash: Required"),
        (obj("AccessKey", {"user": "a", "keyHash": "abc"}), "spec.keyHash"),
        (obj("AccessKey", {"user": "a", "keyHash": "G" * 64}), "spec.keyHash"),
        (obj("AccessKey", {"keyHash": HASH}), "set exactly one of user and team"),
        (obj("AccessKey", {"user": "a", "team": "b", "keyHash": HASH}), "set exactly one of user and team"),
        (obj("AccessKey", {"user": "a", "keyHash": HASH, "type": "Other"}), "spec.type"),
        (obj("AccessKey", {"user": "a", "keyHash": HASH, "ttl": -1}), "spec.ttl"),
        (
            obj("AccessKey", {"user": "a", "keyHash": HASH, "scope": {"rules": [{"requestTargets": ["All"]}]}}),
            "spec.scope.rules[0].requestTargets[0]",
        ),
        (obj("User", {"username": "system:admin"}), "must not start with system:"),
        (obj("User", {"owner": {"user": "a", "team": "b"}}), "set user or team, not both"),
        (obj("User", {"passwordRef": {"secretName": "A/B"}}), "spec.passwordRef.secretName"),
        (obj("User", {}, name="u" * 201), "metadata.name"),
        (obj("User", {"clusterRoles": [{"name": "a/../b"}]}), "spec.clusterRoles[0].name"),
        (obj("Team", {"users": ["Not A Name"]}), "spec.users[0]"),
        (obj("Cluster", {}, name="c" * 64), "63 characters"),
        (obj("Cluster", {"access": [{"users": ["a b"]}]}), "spec.access[0].users[0]"),
        (obj("VirtualCluster", {}, name="with.dot"), "must not contain dots"),
        (obj("VirtualCluster", {}, name="v" * 41), "40 characters"),
        (obj("VirtualCluster", {"pod": {"port": 70000}}), "spec.pod.port"),
        (obj("VirtualCluster", {"access": {"rules": [{"users": ["*"]}]}}), "spec.access.rules[0].clusterRole"),
        (obj("VirtualCluster", {"helmRelease": {"values": {"a": 1}}}), "spec.helmRelease.values"),
        (obj("VirtualCluster", {"objects": "x" * 300_000}), "spec.objects"),
    ],
)
def test_wrong_objects_are_refused_with_the_field(bed: Bed, wrong: dict[str, Any], says: str) -> None:
    text = bed.kubectl("create", "--validate=ignore", "-f", "-", stdin=json.dumps(wrong), ok=False)
    assert says in text, text


def test_a_key_keeps_its_hash_and_owner(bed: Bed) -> None:
    bed.apply(obj("AccessKey", {"user": "a", "keyHash": HASH}, name="kept"))
    for change in ({"keyHash": "1" * 64}, {"user": "b"}, {"user": None, "team": "t"}):
        patch = json.dumps({"spec": change})
        text = bed.kubectl("patch", "accesskey", "kept", "--type=merge", "-p", patch, ok=False)
        assert "cannot change" in text
    bed.kubectl("patch", "accesskey", "kept", "--type=merge", "-p", '{"spec":{"disabled":true}}')
    found = bed.kubectl("get", "accesskeys", "--field-selector=spec.user=a", "-o", "name")
    assert "accesskey.storage.loft.sh/kept" in found


def test_status_is_a_subresource(bed: Bed) -> None:
    bed.apply(obj("Cluster", {}, name="statused", status={"phase": "Failed"}))
    assert "status" not in bed.get("clusters.storage.loft.sh", "statused")
    patch = ("patch", "clusters.storage.loft.sh", "statused", "--subresource=status", "--type=merge", "-p")
    assert "status.phase" in bed.kubectl(*patch, '{"status":{"phase":"Odd"}}', ok=False)
    bed.kubectl(*patch, '{"status":{"phase":"Failed"}}')
    assert bed.get("clusters.storage.loft.sh", "statused")["status"] == {"phase": "Failed"}


def test_our_groups_do_not_trouble_the_controllers(bed: Bed) -> None:
    """The garbage collector and the namespace controller watch and delete through our servers, too."""
    # Before the servers were there the API server could not reach them; that is not their fault.
    earlier = len(bed.server.log("kube-controller-manager"))
    bed.kubectl("create", "namespace", "troubled")
    bed.kubectl("delete", "namespace", "troubled", "--timeout=40s")
    lines = bed.server.log("kube-controller-manager")[earlier:].splitlines()
    bad = [line for line in lines if line.startswith("E") and "loft.sh" in line and "Unavailable" not in line]
    assert bad == []
    front = bed.server.log("kube-apiserver").splitlines()
    assert [line for line in front if "OpenAPI" in line and "loft.sh" in line and "Error" in line][5:] == []
