"""What a hostile tenant can write inside a virtual cluster, and what becomes of it on the host: case by case.

Numbers are those of the table in docs/security.md. Each case is one object that the virtual API server would take.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from loft.core.action import Create, Delete, Event
from loft.hypervisor.apiservice import plan_service
from loft.hypervisor.core import objects
from loft.hypervisor.core.context import Context
from loft.hypervisor.core.names import Names
from loft.hypervisor.core.plan import plan
from loft.hypervisor.core.side import Step
from loft.hypervisor.egress_rules import Known, Refused, parse_target, route
from loft.hypervisor.kinds import REGISTRY
from loft.hypervisor.kinds.node import virtual_node
from loft.hypervisor.kinds.pod_volumes import token_sources
from loft.hypervisor.kinds.serviceaccount import token_request
from loft.hypervisor.settings import Settings

NAMES = Names("dev", "vc")
Object = dict[str, Any]


def steps(kind: str, obj: Object, host: Object | None = None, **facts: Any) -> list[Step]:
    """Return the plan for an object of namespace `default`."""
    settings = Settings(name="dev", host_namespace="vc", owner={"kind": "Service", "name": "dev", "uid": "o1"})
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC), dns_ip="10.0.0.10", **facts)
    metadata = {"name": "web", "namespace": "default", "uid": "u1"} | obj.get("metadata", {})
    return plan(REGISTRY[kind], {"kind": kind} | obj | {"metadata": metadata}, host, NAMES, context)


def made(kind: str, obj: Object, **facts: Any) -> Object:
    """Return the one host object that is made."""
    (step,) = steps(kind, obj, **facts)
    assert step.side == "host" and isinstance(step.action, Create)
    return step.action.body


def refused(kind: str, obj: Object) -> list[str]:
    """Return what the Events say; nothing may be made on the host."""
    planned = steps(kind, obj)
    assert all(step.side == "virtual" for step in planned)
    return [step.action.message for step in planned if isinstance(step.action, Event)]


def pod(**spec: Any) -> Object:
    return {"spec": {"containers": [{"name": "main", "image": "demo"}]} | spec}


def contained(**container: Any) -> Object:
    return pod(containers=[{"name": "main", "image": "demo"} | container])


def secured(**security: Any) -> Object:
    return contained(securityContext=security)


def volume(kind: str, **content: Any) -> Object:
    return pod(volumes=[{"name": "v", kind: content}])


REFUSED_PODS: list[tuple[str, Object, str]] = [
    ("61 host network", pod(hostNetwork=True), "spec.hostNetwork"),
    ("61 host processes", pod(hostPID=True), "spec.hostPID"),
    ("61 host IPC", pod(hostIPC=True), "spec.hostIPC"),
    ("61 privileged", secured(privileged=True), "securityContext.privileged"),
    ("61 capabilities", secured(capabilities={"add": ["SYS_ADMIN"]}), "capabilities.add"),
    ("61 all capabilities", secured(capabilities={"add": ["ALL"]}), "capabilities.add"),
    ("61 unmasked /proc", secured(procMount="Unmasked"), "procMount"),
    ("61 no seccomp", secured(seccompProfile={"type": "Unconfined"}), "seccompProfile.type"),
    ("61 no AppArmor", secured(appArmorProfile={"type": "Unconfined"}), "appArmorProfile.type"),
    ("61 SELinux type", secured(seLinuxOptions={"type": "spc_t"}), "seLinuxOptions.type"),
    ("61 SELinux user", pod(securityContext={"seLinuxOptions": {"user": "root"}}), "seLinuxOptions.user"),
    ("61 host process on Windows", secured(windowsOptions={"hostProcess": True}), "windowsOptions"),
    ("61 sysctl", pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), "sysctls[0].name"),
    ("61 host port", contained(ports=[{"containerPort": 80, "hostPort": 80}]), "ports[0].hostPort"),
    ("61 init container", pod(initContainers=[{"name": "i", "securityContext": {"privileged": True}}]), "privileged"),
    ("61 probe of another host", contained(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}), "host"),
    ("61 hook to another host", contained(lifecycle={"preStop": {"tcpSocket": {"host": "a", "port": 1}}}), "host"),
    ("61 shared mounts", contained(volumeMounts=[{"name": "v", "mountPropagation": "Bidirectional"}]), "Propagation"),
    ("62 host path", volume("hostPath", path="/"), "spec.volumes[0].hostPath"),
    ("63 git repository", volume("gitRepo", repository="ext::sh"), "gitRepo"),
    ("63 iSCSI", volume("iscsi", targetPortal="192.0.2.1"), "iscsi"),
    ("63 RBD", volume("rbd", monitors=["192.0.2.1"]), "rbd"),
    ("63 flex volume", volume("flexVolume", driver="a/b"), "flexVolume"),
    ("63 inline CSI", volume("csi", driver="secrets-store.csi.k8s.io"), "csi"),
    ("63 NFS", volume("nfs", server="192.0.2.1", path="/"), "nfs"),
    ("63 cloud disk", volume("awsElasticBlockStore", volumeID="x"), "awsElasticBlockStore"),
    ("63 image as volume", volume("image", reference="a/b"), "image"),
    ("63 trust bundle", volume("projected", sources=[{"clusterTrustBundle": {"path": "a"}}]), "clusterTrustBundle"),
    ("63 certificate", volume("projected", sources=[{"podCertificate": {"keyType": "RSA"}}]), "podCertificate"),
    (
        "63 two kinds at once",
        pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        "spec.volumes[0]",
    ),
    ("64 own scheduler", pod(schedulerName="mine"), "spec.schedulerName"),
    ("64 runtime class", pod(runtimeClassName="kata"), "spec.runtimeClassName"),
    ("64 overhead", pod(overhead={"cpu": "1"}), "spec.overhead"),
    ("64 devices", pod(resourceClaims=[{"name": "gpu"}]), "spec.resourceClaims"),
    ("77 field of tomorrow", pod(tomorrow={"a": {"b": {"c": 1}}}), "spec.tomorrow"),
    ("77 unlisted within a list", contained(ports=[{"containerPort": 1, "tomorrow": 1}]), "ports[0].tomorrow"),
    ("77 10 001 containers", pod(containers=[{"name": "c"}] * 10_001), "at most 10000"),
]


@pytest.mark.parametrize(("case", "obj", "field"), REFUSED_PODS, ids=[case for case, _, _ in REFUSED_PODS])
def test_a_pod_with_power_is_refused_by_name(case: str, obj: Object, field: str) -> None:
    assert any(field in message for message in refused("Pod", obj)), case


REFUSED_CLAIMS: list[tuple[str, Object, str]] = [
    ("62 volume by name", {"volumeName": "pv-of-another"}, "spec.volumeName"),
    ("62 no class at all", {"storageClassName": ""}, "spec.storageClassName"),
    ("62 volumes by label", {"selector": {"matchLabels": {"a": "b"}}}, "spec.selector"),
    (
        "62 foreign snapshot",
        {"dataSource": {"kind": "VolumeGroup", "apiGroup": "x.io", "name": "s"}},
        "spec.dataSource",
    ),
    (
        "62 claim of another namespace",
        {"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "c", "namespace": "other"}},
        "spec.dataSourceRef",
    ),
]


@pytest.mark.parametrize(("case", "spec", "field"), REFUSED_CLAIMS, ids=[case for case, _, _ in REFUSED_CLAIMS])
def test_a_claim_on_what_is_not_the_tenants_is_refused(case: str, spec: Object, field: str) -> None:
    body = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}} | spec}
    assert any(field in message for message in refused("PersistentVolumeClaim", body)), case


def test_case_62_volumes_of_a_tenants_own_making_never_leave_the_virtual_cluster() -> None:
    assert "PersistentVolume" not in REGISTRY


def test_case_64_placement_is_overridden() -> None:
    host = made(
        "Pod",
        pod(
            nodeName="control-plane-1",
            tolerations=[
                {"operator": "Exists"},
                {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"},
            ],
            preemptionPolicy="PreemptLowerPriority",
            priority=2_000_000_000,
            topologySpreadConstraints=[
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
            ],
        ),
    )["spec"]
    assert "nodeName" not in host and "tolerations" not in host
    assert "priority" not in host and "preemptionPolicy" not in host
    spread = host["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert spread == NAMES.selector("default")
    assert steps("Pod", pod(schedulingGates=[{"name": "example.org/wait"}])) == []


def test_case_65_accounts_tokens_and_secrets_are_the_virtual_ones() -> None:
    foreign = "registry-x-other-x-theirs"
    host = made(
        "Pod",
        pod(
            serviceAccountName="vc-dev",
            automountServiceAccountToken=True,
            imagePullSecrets=[{"name": foreign}],
            containers=[{"name": "main", "image": "demo", "envFrom": [{"secretRef": {"name": foreign}}]}],
            volumes=[
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "host"}}]}}
            ],
        ),
    )["spec"]
    assert host["serviceAccountName"] == "vc-dev-workload" and host["automountServiceAccountToken"] is False
    translated = NAMES.host("default", foreign)
    assert translated != foreign
    assert host["imagePullSecrets"] == [{"name": translated}]
    assert host["containers"][0]["envFrom"] == [{"secretRef": {"name": translated}}]
    assert "serviceAccountToken" not in json.dumps(host)


def test_case_65_a_token_of_any_audience_is_the_virtual_api_servers_and_bound_to_its_pod() -> None:
    body = pod(
        volumes=[{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "h"}}]}}]
    )
    virtual = body | {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}}
    request = token_request(virtual, token_sources(virtual)[0])
    assert request["spec"]["boundObjectRef"]["uid"] == "u1" and request["spec"]["audiences"] == ["h"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("c", "a-x-b"), ("b-x-c", "a")),
        (("default", "web-x-default-x-dev"), ("default", "web")),
        (("n", "m" * 253), ("n", "m" * 252)),
        (("n", "a" * 60 + "b"), ("n", "a" * 60 + "c")),
    ],
)
def test_case_66_two_objects_never_share_a_host_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert NAMES.host(*one) != NAMES.host(*other)
    assert NAMES.host(*one) != Names("other", "vc").host(*one)


FORGED = {
    "labels": {
        "vcluster.loft.sh/managed-by": "other",
        "vcluster.loft.sh/namespace": "other",
        "app.kubernetes.io/name": "virtualcluster",
        "app.kubernetes.io/instance": "dev",
        "node-role.kubernetes.io/master": "",
    },
    "annotations": {
        "vcluster.loft.sh/object-name": "forged",
        "vcluster.loft.sh/object-uid": "forged",
        "vcluster.loft.sh/reservation": "forged",
        "nginx.ingress.kubernetes.io/server-snippet": "forged",
        "service.beta.kubernetes.io/aws-load-balancer-internal": "forged",
        "k8s.v1.cni.cncf.io/networks": "forged",
        "container.apparmor.security.beta.kubernetes.io/main": "forged",
        "sidecar.istio.io/inject": "forged",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "forged",
        "prometheus.io/scrape": "forged",
    },
    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "forged"}],
    "finalizers": ["forged.example.org/never"],
    "generateName": "forged-",
    "managedFields": [{"manager": "forged"}],
}


@pytest.mark.parametrize(
    ("kind", "body", "facts"),
    [
        ("Pod", pod(), {}),
        ("Service", {"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}, {}),
        ("ConfigMap", {"data": {"a": "b"}}, {"used": True}),
        ("Secret", {"data": {"a": "Yg=="}}, {"used": True}),
        ("PersistentVolumeClaim", {"spec": {"accessModes": ["ReadWriteOnce"]}}, {}),
    ],
)
def test_cases_67_68_72_metadata_with_power_never_crosses(kind: str, body: Object, facts: Object) -> None:
    metadata = made(kind, body | {"metadata": dict(FORGED)}, **facts)["metadata"]
    assert "forged" not in json.dumps(metadata)
    assert metadata["labels"][objects.MANAGED_BY] == "dev"
    assert metadata["labels"][objects.NAMESPACE] == "default"
    assert metadata["annotations"][objects.OBJECT_UID] == "u1"
    assert all(key.startswith(("vcluster.loft.sh/", "label.vcluster.loft.sh/")) for key in metadata["labels"])
    assert all(key.startswith("vcluster.loft.sh/") for key in metadata["annotations"])
    assert metadata["ownerReferences"] == [{"kind": "Service", "name": "dev", "uid": "o1"}]
    assert "finalizers" not in metadata


def test_case_67_a_forged_mark_makes_no_host_object_ours() -> None:
    stranger = {
        "metadata": {
            "name": "web-x-default-x-dev",
            "namespace": "vc",
            "uid": "h1",
            "labels": {objects.MANAGED_BY: "other"},
            "annotations": {objects.OBJECT_UID: "u1", objects.OBJECT_NAME: "web", objects.OBJECT_NAMESPACE: "default"},
        }
    }
    assert steps("Pod", pod(), stranger) == []


@pytest.mark.parametrize("target", ["external", "load balancer address", "load balancer class"])
def test_case_68_a_service_claims_no_address_of_the_host(target: str) -> None:
    field = {
        "external": {"externalIPs": ["192.0.2.1"]},
        "load balancer address": {"loadBalancerIP": "192.0.2.1"},
        "load balancer class": {"loadBalancerClass": "example.org/internal"},
    }[target]
    assert refused("Service", {"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]} | field})


@pytest.mark.parametrize("kind", ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"])
def test_case_65_a_secret_has_no_power_by_its_type(kind: str) -> None:
    assert made("Secret", {"type": kind, "data": {}}, used=True)["type"] == "Opaque"


@pytest.mark.parametrize(
    "authority",
    [
        "169.254.169.254:80",
        "127.0.0.1:6443",
        "127.0.0.1:2379",
        "10.96.0.1:443",
        "[::ffff:169.254.169.254]:80",
        "metadata.google.internal:80",
        "kubernetes.default.svc:443",
        "hypervisor.invalid:8080",
    ],
)
def test_case_73_webhooks_and_aggregated_apis_lead_nowhere_else(authority: str) -> None:
    with pytest.raises(Refused):
        route(parse_target(authority), Known(), kubelet_port=10250, webhook_port=10251, metrics_port=10252)


def test_case_74_the_service_of_the_api_server_cannot_be_turned_elsewhere() -> None:
    service = {
        "metadata": {"name": "kubernetes", "namespace": "default", "uid": "u1"},
        "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 443, "targetPort": 8443}], "selector": {"app": "evil"}},
    }
    gone, new = plan_service(service, "10.0.0.9")
    assert isinstance(gone, Delete) and isinstance(new, Create) and "selector" not in new.body["spec"]
    assert steps("Service", service) == []


def test_case_76_only_listed_facts_come_back() -> None:
    virtual = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, **pod()}
    marks = {objects.OBJECT_UID: "u1", objects.OBJECT_NAME: "web", objects.OBJECT_NAMESPACE: "default"}
    name = NAMES.host("default", "web")
    host = {
        "metadata": {
            "name": name,
            "namespace": "vc",
            "uid": "h1",
            "labels": {objects.MANAGED_BY: "dev", "cost-centre": "leak"},
            "annotations": marks | {"cloud.example.org/account": "leak"},
        },
        "spec": {"nodeName": "node-a", "containers": [{"name": "injected", "image": "leak"}]},
        "status": {
            "phase": "Pending",
            "tomorrow": "leak",
            "resourceClaimStatuses": [{"name": "leak"}],
            "conditions": [{"type": "Ready", "status": "False", "message": f"pod vc/{name} waits", "tomorrow": "leak"}],
        },
    }
    inside = [step for step in steps("Pod", virtual, host) if step.side == "virtual"]
    text = json.dumps([step.action.patch for step in inside if hasattr(step.action, "patch")])
    assert "leak" not in text and name not in text and "default/web waits" in text


def test_case_76_a_node_shows_neither_images_nor_labels_of_the_operator() -> None:
    host = {
        "metadata": {
            "name": "node-a",
            "labels": {"kubernetes.io/arch": "amd64", "rack": "leak"},
            "annotations": {"a": "leak"},
        },
        "status": {"images": [{"names": ["leak"]}], "volumesInUse": ["leak"], "nodeInfo": {"machineID": "leak"}},
    }
    node = virtual_node("node-a", host, "192.0.2.1", Settings(name="dev", host_namespace="vc"))
    assert "leak" not in json.dumps(node) and node["metadata"]["labels"]["kubernetes.io/arch"] == "amd64"


def test_case_77_hostile_sizes_cost_little() -> None:
    many = {f"k{number}": "dg==" for number in range(100_000)}
    begun = time.process_time()
    assert len(made("Secret", {"data": many}, used=True)["data"]) == 100_000
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}
    assert refused("Pod", pod(affinity={"tomorrow": deep}))
    assert refused("Pod", pod(nodeSelector={"a": deep}))
    assert time.process_time() - begun < 5


def test_case_77_keys_that_look_like_paths_stay_keys() -> None:
    data = {"..data": "eA==", "a..b": "eA=="}
    assert made("Secret", {"data": data}, used=True)["data"] == data


def test_case_79_every_host_object_goes_with_its_owner() -> None:
    for kind, body, facts in (
        ("Pod", pod(), {}),
        ("ConfigMap", {"data": {}}, {"used": True}),
        ("Service", {"spec": {"clusterIP": "None"}}, {}),
    ):
        assert made(kind, body, **facts)["metadata"]["ownerReferences"][0]["uid"] == "o1"


def test_case_80_two_virtual_clusters_of_one_namespace_are_strangers() -> None:
    theirs = {
        "metadata": {
            "name": Names("other", "vc").host("default", "web"),
            "namespace": "vc",
            "uid": "h1",
            "labels": Names("other", "vc").selector("default"),
            "annotations": {objects.OBJECT_UID: "u9"},
        }
    }
    settings = Settings(name="dev", host_namespace="vc")
    context = Context(settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert plan(REGISTRY["Pod"], None, theirs, NAMES, context) == []
