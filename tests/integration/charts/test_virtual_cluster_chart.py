"""The chart as Helm renders it: golden files, refusals, and what must never be in it.

`LOFT_REWRITE_GOLDEN=1` writes the golden files anew; the diff is then the review.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from loft.embedded import binaries
from loft.hypervisor.config import parse_access, parse_config
from loft.hypervisor.core.objects import EGRESS_RULED
from loft.hypervisor.kinds import REGISTRY
from loft.hypervisor.kinds.classes import REFLECTIONS
from loft.hypervisor.settings import KINDS
from loft.tenancy.virtualcluster.values import SYNC_SWITCHES

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "virtualcluster"
GOLDEN = ROOT / "tests" / "golden" / "virtualcluster"
CIDR = {"serviceCIDR": "10.96.0.0/16"}

Object = dict[str, Any]


def helm(values: Object) -> subprocess.CompletedProcess[str]:
    command = [str(binaries.find("helm")), "template", "dev", str(CHART), "--namespace", "team", "--values", "-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=60, check=False)


def render(values: Object) -> list[Object]:
    result = helm(values)
    assert result.returncode == 0, result.stderr
    return [item for item in yaml.safe_load_all(result.stdout) if item]


def find(objects: list[Object], kind: str, name: str) -> Object:
    return next(item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name)


def containers(objects: list[Object]) -> dict[str, Object]:
    pod = find(objects, "StatefulSet", "dev")["spec"]["template"]["spec"]
    return {item["name"]: item for item in pod["containers"]}


WIDGETS = {
    "group": "example.com",
    "version": "v1",
    "kind": "Widget",
    "plural": "widgets",
    "rules": [{"copy": "spec.size"}],
}
SHAPES = WIDGETS | {"kind": "Shape", "plural": "shapes", "direction": "fromHost", "rules": [{"copy": "spec.corners"}]}
FOREIGN = {
    "distribution": {
        "image": "example.com/allinone:1",
        "command": ["server"],
        "args": ["--tls-san=$(SERVICE_IP)"],
        "env": [{"name": "MODE", "value": "small"}],
        "port": 7443,
        "runAsUser": 0,
    }
}
CASES: dict[str, Object] = {
    "default": CIDR,
    "ephemeral": CIDR | {"storage": {"persistence": False}, "dns": {"enabled": False}},
    "isolated": CIDR | {"isolation": {"enabled": True, "podSecurityStandard": "restricted"}},
    "distribution": CIDR | FOREIGN | {"isolation": {"enabled": True}},
    "three-replicas-with-agent": CIDR
    | {
        "controlPlane": {"replicas": 3},
        "agent": {"serviceAccount": {"name": "loft-agent", "namespace": "loft"}},
        "hostNodes": {"enabled": True},
        "hostClasses": {"enabled": True},
        "sync": {"storageclasses": {"toHost": True}, "customResources": [WIDGETS, SHAPES]},
        "access": {"defaultClusterRole": "view", "rules": [{"users": ["ann"], "clusterRole": "edit"}]},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    result = helm(CASES[case])
    assert result.returncode == 0, result.stderr
    if os.environ.get("LOFT_REWRITE_GOLDEN"):
        path.write_text(result.stdout)
    assert result.stdout == path.read_text()


def test_the_hypervisor_understands_what_the_chart_writes() -> None:
    data = find(render(CASES["three-replicas-with-agent"]), "ConfigMap", "vc-dev-config")["data"]
    config = parse_config(data["config.json"].encode())
    assert (config.name, config.namespace, config.replicas, config.host_nodes) == ("dev", "team", 3, True)
    assert config.kinds == KINDS | {"StorageClassToHost"}
    assert [resource.kind for resource in config.custom_resources] == ["Widget", "Shape"]
    assert parse_access(data["access.json"]).rules[0].users == ["ann"]


def test_values_of_earlier_charts_are_understood() -> None:
    values = {
        "virtualCluster": {"extraArgs": ["--service-cidr=10.97.0.0/16"]},
        "syncer": {"extraArgs": ["--disable-sync-resources=ingresses,persistentvolumeclaims,endpoints"]},
    }
    objects = render(values)
    assert "--service-cluster-ip-range=10.97.0.0/16" in containers(objects)["kube-apiserver"]["args"]
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert config.kinds == KINDS - {"PersistentVolumeClaim", "EndpointSlice", "Ingress"}


ALL_NODES = {"hostNodes": {"enabled": True}, "scheduler": {"enabled": True}}


def test_a_scheduler_inside_is_a_container_and_its_taints_evict() -> None:
    objects = render(CIDR | ALL_NODES | {"sync": {"nodes": {"nodeSelector": "disk=ssd"}}})
    assert {"kube-scheduler"} == set(containers(objects)) - set(containers(render(CIDR)))
    controllers = next(x for x in containers(objects)["kube-controller-manager"]["args"] if "--controllers" in x)
    assert "taint-eviction-controller" not in controllers.replace("device-taint-eviction-controller", "")
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert config.scheduler
    assert config.node_selector == "disk=ssd"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "serviceCIDR is empty"),
        (CIDR | {"virtualCluster": {"image": "rancher/k3s:v1.21.2-k3s1"}}, "rancher/k3s:v1.21.2-k3s1 is not supported"),
        (CIDR | {"virtualCluster": {"extraArgs": ["--disable=traefik"]}}, "--disable=traefik is not supported"),
        (CIDR | {"virtualCluster": {"extraArgs": ["--service-cidr=10.0.0.0/16"]}}, "share it"),
        (CIDR | {"virtualCluster": {"env": [{"name": "A", "value": "b"}]}}, "virtualCluster.env is not supported"),
        (CIDR | {"syncer": {"extraArgs": ["--fake-nodes=false"]}}, "--fake-nodes=false is not supported"),
        (CIDR | {"syncer": {"extraArgs": ["--disable-sync-resources=potatoes"]}}, "potatoes is not supported"),
        (CIDR | {"scheduler": {"enabled": True}}, "scheduler.enabled needs hostNodes.enabled"),
        (CIDR | {"sync": {"nodes": {"syncAllNodes": True}}}, "syncAllNodes needs hostNodes.enabled"),
        (CIDR | ALL_NODES | {"sync": {"nodes": {"enabled": False}}}, "need sync.nodes.enabled"),
        (CIDR | {"sync": {"potatoes": {"enabled": True}}}, "potatoes"),
        (CIDR | {"sync": {"customResources": [{"kind": "A"}]}}, "customResources"),
        (CIDR | {"ingressHosts": ["a.*.example.com"]}, "ingressHosts"),
        (CIDR | {"ingressHosts": ["$(OTHER).example.com"]}, "ingressHosts"),
        (CIDR | {"networkPolicies": {"blockedCIDRs": ["everything"]}}, "blockedCIDRs"),
        (CIDR | {"nonsense": 1}, "nonsense"),
        (CIDR | {"controlPlane": {"replicas": 3}, "storage": {"persistence": False}}, "needs storage.persistence"),
        (CIDR | {"storage": {"size": "600Mi"}}, "storage.size 600Mi is too small"),
        (CIDR | {"storage": {"limit": "2Gi"}}, "storage.limit 2Gi must be between 16Mi and 1536Mi"),
        (CIDR | {"storage": {"limit": "1Mi"}}, "storage.limit 1Mi must be between"),
        (CIDR | {"storage": {"limit": "much"}}, "limit"),
        (CIDR | {"externalEtcd": {"endpoints": ["https://etcd:2379"]}}, "externalEtcd.secretName is empty"),
        (CIDR | {"externalEtcd": {"secretName": "etcd"}}, "externalEtcd.endpoints is empty"),
        (CIDR | {"externalEtcd": {"endpoints": ["http://etcd:2379"]}}, "endpoints"),
        (CIDR | {"externalEtcd": {"endpoints": ["https://a,--x=y"]}}, "endpoints"),
        (
            CIDR | {"externalEtcd": {"prefix": "/mine", "retentionPolicy": "Delete"}},
            "retentionPolicy Delete needs an empty externalEtcd.prefix",
        ),
        (CIDR | {"certificates": {"validityMinutes": 4}}, "validityMinutes"),
        (CIDR | {"certificates": {"authorityMinutes": 59, "overlapMinutes": 10}}, "at least 6 times"),
        (CIDR | {"certificates": {"rotateAuthority": "a b"}}, "rotateAuthority"),
        (CIDR | {"expose": {"ingress": {"enabled": True}}}, "expose.ingress.host is empty"),
        (CIDR | {"expose": {"service": {"type": "ExternalName"}}}, "type"),
        (CIDR | {"exportKubeConfig": {"server": "http://plain"}}, "server"),
        (CIDR | {"exportKubeConfig": {"secrets": [{"namespace": "x"}]}}, "name"),
        (CIDR | {"kubernetes": {"version": "1.36"}}, "version"),
        (CIDR | {"controlPlane": {"replicas": 2}}, "replicas"),
        (CIDR | FOREIGN | {"controlPlane": {"replicas": 3}}, "distribution.image needs controlPlane.replicas 1"),
        (CIDR | FOREIGN | ALL_NODES, "distribution.image and scheduler.enabled"),
        (CIDR | {"distribution": {"image": "x", "kubeconfig": "/../etc/loft"}}, "kubeconfig"),
        (CIDR | {"distribution": {"image": "x", "kubeconfig": "relative/a"}}, "kubeconfig"),
        (CIDR | {"distribution": {"image": "x", "port": 10250}}, "port"),
        (CIDR | {"distribution": {"image": "x", "env": [{"name": "A", "valueFrom": {}}]}}, "env"),
        (CIDR | {"image": "x y"}, "image"),
        (CIDR | {"kubernetes": {"image": "a: {b}"}}, "kubernetes"),
        (CIDR | {"storage": {"size": "5Gi\n  - evil"}}, "size"),
        (CIDR | {"storage": {"className": "a\nb: c"}}, "className"),
        ({"serviceCIDR": "10.0.0.0/8 --anonymous-auth"}, "serviceCIDR"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(values: Object, message: str) -> None:
    result = helm(values)
    assert result.returncode != 0
    assert message in result.stderr


def test_the_hosts_token_is_in_no_container_but_ours() -> None:
    objects = render(CIDR)
    pod = find(objects, "StatefulSet", "dev")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    with_token = {
        name for name, item in containers(objects).items() if any(m["name"] == "token" for m in item["volumeMounts"])
    }
    assert with_token == {"hypervisor"}


def test_a_distribution_gets_nothing_of_ours_but_its_own_volumes() -> None:
    objects = render(CASES["distribution"])
    found = containers(objects)
    assert set(found) == {"hypervisor", "distribution"}
    mounts = {mount["name"]: mount["mountPath"] for mount in found["distribution"]["volumeMounts"]}
    assert mounts == {"data": "/data", "distribution": "/run/kubeconfig", "distribution-tmp": "/tmp"}
    (shared,) = [mount for mount in found["hypervisor"]["volumeMounts"] if mount["name"] == "distribution"]
    assert shared["readOnly"]
    assert found["distribution"]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert find(objects, "Service", "dev")["spec"]["ports"][0]["targetPort"] == 7443
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert config.distribution is not None
    assert (config.distribution.kubeconfig, config.distribution.port) == ("admin.conf", 7443)
    rules = [item for item in objects if item["kind"] == "NetworkPolicy"]
    (inside,) = [item for item in rules if item["metadata"]["name"] == "vc-dev-control-plane"]
    assert inside["spec"]["ingress"][0]["ports"][0] == {"port": 7443, "protocol": "TCP"}


def test_every_component_sees_its_own_keys_only() -> None:
    for name, item in containers(render(CIDR)).items():
        mounts = [mount for mount in item["volumeMounts"] if mount["name"] == "pki"]
        if name != "hypervisor":
            assert [mount["subPath"] for mount in mounts] == [name]


def test_the_components_wait_for_the_hypervisor_which_is_started_first() -> None:
    found = containers(render(CIDR))
    assert next(iter(found)) == "hypervisor"
    waiting = {
        name for name, item in found.items() if {"name": "LOFT_WAIT_FOR", "value": "/run/loft/pki/start"} in item["env"]
    }
    assert waiting == {"etcd", "kube-apiserver", "kube-controller-manager"}


@pytest.mark.parametrize(("policy", "is_kept"), [("Delete", False), ("Retain", True)])
def test_the_claim_of_a_single_replica_goes_with_the_release_unless_it_shall_stay(policy: str, is_kept: bool) -> None:
    objects = render(CIDR | {"storage": {"retentionPolicy": policy}})
    claim = find(objects, "PersistentVolumeClaim", "data-dev-0")
    assert (claim["metadata"].get("annotations") == {"helm.sh/resource-policy": "keep"}) is is_kept
    pod = find(objects, "StatefulSet", "dev")["spec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-dev-0"}} in pod["volumes"]


def test_the_pod_meets_the_restricted_pod_security_standard() -> None:
    objects = render(CIDR)
    pod = find(objects, "StatefulSet", "dev")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for item in containers(objects).values():
        assert item["securityContext"]["allowPrivilegeEscalation"] is False
        assert item["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_agent_may_read_two_secrets_and_no_more() -> None:
    role = find(render(CASES["three-replicas-with-agent"]), "Role", "vc-dev-agent")
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["vc-dev", "vc-dev-gateway"],
            "verbs": ["get", "list", "watch"],
        }
    ]


def test_a_change_of_access_does_not_restart_the_control_plane() -> None:
    def template(values: Object) -> Object:
        return dict(find(render(values), "StatefulSet", "dev")["spec"]["template"])

    assert template(CIDR) == template(CIDR | {"access": {"defaultClusterRole": "view"}})
    assert template(CIDR) != template(CIDR | {"dns": {"replicas": 2}})


def test_the_hypervisor_has_rights_in_its_namespace_only() -> None:
    objects = render(CIDR | {"isolation": {"enabled": True}})
    assert not [item for item in objects if item["kind"].startswith("ClusterRole")]
    for role in (item for item in objects if item["kind"] == "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"impersonate", "bind", "escalate", "deletecollection"} & set(rule["verbs"])
            assert not {"nodes", "nodes/proxy", "pods/proxy", "services/proxy", "roles"} & set(rule["resources"])
    bound = [item["subjects"] for item in objects if item["kind"] == "RoleBinding"]
    assert bound == [[{"kind": "ServiceAccount", "name": "vc-dev", "namespace": "team"}]], "workloads have no rights"


FENCES = ("ResourceQuota", "LimitRange", "NetworkPolicy")


@pytest.mark.parametrize(
    ("isolation", "kinds"),
    [
        ({}, []),
        ({"podSecurityStandard": "restricted"}, []),
        ({"enabled": True}, ["ResourceQuota", "LimitRange", *["NetworkPolicy"] * 3]),
        ({"enabled": True, "networkPolicy": {"enabled": False}}, ["ResourceQuota", "LimitRange"]),
        (
            {"enabled": True, "resourceQuota": {"enabled": False}, "limitRange": {"enabled": False}},
            ["NetworkPolicy"] * 3,
        ),
    ],
)
def test_fences_stand_where_they_are_asked_for(isolation: Object, kinds: list[str]) -> None:
    found = [item["kind"] for item in render(CIDR | {"isolation": isolation}) if item["kind"] in FENCES]
    assert sorted(found) == sorted(kinds)


def test_a_quota_of_the_administrators_amounts() -> None:
    hard = {"count/pods": "5", "limits.cpu": 3}
    quota = find(
        render(CIDR | {"isolation": {"enabled": True, "resourceQuota": {"quota": hard}}}), "ResourceQuota", "vc-dev"
    )
    assert quota["spec"]["hard"]["count/pods"] == "5" and quota["spec"]["hard"]["limits.cpu"] == "3"


def test_an_unknown_level_is_refused() -> None:
    result = helm(CIDR | {"isolation": {"podSecurityStandard": "none"}})
    assert result.returncode != 0 and "podSecurityStandard" in result.stderr


def test_every_kind_has_a_switch_by_both_ways() -> None:
    written = yaml.safe_load((CHART / "values.yaml").read_text())["sync"]
    switches = [kind for kind, state in written.items() if isinstance(state, dict)]
    by_value = render(CIDR | {"sync": {kind: {"enabled": False} for kind in switches}})
    by_argument = render(CIDR | {"syncer": {"extraArgs": ["--disable-sync-resources=" + ",".join(switches)]}})
    for objects in (by_value, by_argument):
        data = find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"]
        assert parse_config(data.encode()).kinds == frozenset(), "a kind without a switch"
    assert sorted(switches) == sorted(SYNC_SWITCHES), "what tenants may switch is what there is"


def test_the_hypervisor_has_the_rights_to_what_it_syncs() -> None:
    role = find(render(CASES["three-replicas-with-agent"]), "Role", "vc-dev")
    allowed = {
        (group, resource)
        for rule in role["rules"]
        if {"get", "list", "watch", "create", "update", "patch", "delete"} <= {*rule["verbs"]}
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    namespaced = [mapping.resource for mapping in REGISTRY.values() if mapping.resource.namespaced]
    assert {(resource.group, resource.plural) for resource in namespaced} <= allowed
    assert ("example.com", "widgets") in allowed and ("example.com", "shapes") not in allowed
    cluster = find(render(CASES["three-replicas-with-agent"]), "ClusterRole", "vc-team-dev")
    readable = {(rule["apiGroups"][0], name) for rule in cluster["rules"] for name in rule["resources"]}
    shown = {(item.resource.group, item.resource.plural) for item in REFLECTIONS.values()}
    assert shown | {("example.com", "shapes")} <= readable


@pytest.mark.parametrize("section", ["defaults", "fixed"])
def test_the_platforms_deployer_may_give_the_rights_of_the_chart(section: str) -> None:
    values = {"sync": {"customResources": [WIDGETS, SHAPES]}}
    agent = template("loft-agent", {"virtualClusters": {section: values}})
    given = granted(find(agent, "ClusterRole", "loft-vc-deployer"))
    # What it may do with every object it may also give for one.
    assert {right[:3] for right in granted(find(render(CIDR | values), "Role", "vc-dev"))} <= given
    classes = granted(find(agent, "ClusterRole", "loft-vc-classes"))
    with_rights = render(CIDR | values | {"hostClasses": {"enabled": True}})
    assert granted(find(with_rights, "ClusterRole", "vc-team-dev")) <= classes, "what the chart gives where it may"
    nobody = template("loft-agent", {"virtualClusters": {"hostClasses": False, section: values}})
    assert granted(find(nobody, "ClusterRole", "loft-vc-classes")) == set()


def template(chart: str, values: Object) -> list[Object]:
    command = [str(binaries.find("helm")), "template", "x", str(ROOT / "charts" / chart), "--namespace", "loft"]
    result = subprocess.run(
        [*command, "--values", "-"], input=json.dumps(values), capture_output=True, text=True, timeout=60, check=True
    )
    return [item for item in yaml.safe_load_all(result.stdout) if item]


def granted(role: Object) -> set[tuple[str, ...]]:
    return {
        (group, resource, verb, *rule.get("resourceNames", []))
        for rule in role["rules"] or []
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_one_list_of_hosts_gives_every_virtual_cluster_its_own() -> None:
    objects = render(CIDR | {"ingressHosts": ["*.$(NAME).$(NAMESPACE).apps.example.com", "a.example.com", "*"]})
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert config.ingress_hosts == ("*.dev.team.apps.example.com", "a.example.com", "*")


@pytest.mark.parametrize(
    ("block", "closed"),
    [
        ({"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}, ("10.0.0.0/8", "::/0")),
        ({"cidr": "192.0.2.0/24", "except": []}, ("0.0.0.0/0", "::/0")),
        (None, ("0.0.0.0/0", "::/0")),
    ],
)
def test_the_fence_is_a_boundary_for_tenants_policies_too(block: Object | None, closed: tuple[str, ...]) -> None:
    outgoing = {"outgoingConnections": {"ipBlock": block}}
    objects = render(CIDR | {"isolation": {"enabled": True, "networkPolicy": outgoing}})
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert config.blocked_cidrs == closed
    workloads = find(objects, "NetworkPolicy", "vc-dev-workloads")["spec"]["podSelector"]
    assert workloads["matchExpressions"] == [{"key": EGRESS_RULED, "operator": "DoesNotExist"}]
    assert "egress" not in find(objects, "NetworkPolicy", "vc-dev-closed")["spec"]


def test_an_external_etcd_stands_for_the_pods_own() -> None:
    objects = render(
        CIDR | {"externalEtcd": {"endpoints": ["https://a:2379", "https://b:2379"], "secretName": "store"}}
    )
    assert "etcd" not in containers(objects)
    server = containers(objects)["kube-apiserver"]
    assert {"--etcd-servers=https://a:2379,https://b:2379", "--etcd-prefix=/team/dev"} <= set(server["args"])
    pod = find(objects, "StatefulSet", "dev")["spec"]["template"]["spec"]
    assert {"name": "etcd", "secret": {"secretName": "store", "defaultMode": 0o440}} in pod["volumes"]
    assert not [item for item in objects if item["kind"] == "PersistentVolumeClaim"]
    data = find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"]
    assert parse_config(data.encode()).store_is_ours is False


def test_what_is_in_an_external_etcd_is_removed_by_a_step_after_the_deletion_if_that_is_said() -> None:
    store = {"endpoints": ["https://a:2379", "https://b:2379"], "secretName": "store"}
    assert not [item for item in render(CIDR | {"externalEtcd": store}) if "helm.sh/hook" in annotations(item)]
    values = CIDR | {"externalEtcd": store | {"retentionPolicy": "Delete"}, "controlPlane": {"replicas": 3}}
    steps = [item for item in render(values) if annotations(item).get("helm.sh/hook") == "post-delete"]
    assert [item["kind"] for item in steps] == ["ServiceAccount", "Role", "RoleBinding", "Pod"]
    assert steps[1]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "resourceNames": ["dev-0", "dev-1", "dev-2"], "verbs": ["get"]}
    ]
    command = steps[3]["spec"]["containers"][0]["command"]
    assert command == ["python3", "-m", "loft.cmd.forget", "team", "dev", "3", "https://a:2379", "https://b:2379"]
    assert steps[3]["spec"]["volumes"] == [{"name": "etcd", "secret": {"secretName": "store", "defaultMode": 0o440}}]


def annotations(item: Object) -> dict[str, str]:
    return item["metadata"].get("annotations") or {}


def test_the_volume_of_the_only_replica_is_the_charts_and_those_of_three_are_not() -> None:
    assert [item for item in render(CIDR) if item["kind"] == "PersistentVolumeClaim"]
    objects = render(CIDR | {"controlPlane": {"replicas": 3}})
    assert not [item for item in objects if item["kind"] == "PersistentVolumeClaim"]
    assert find(objects, "StatefulSet", "dev")["spec"]["volumeClaimTemplates"]


def test_how_keys_are_exchanged_reaches_the_hypervisor() -> None:
    objects = render(CIDR | {"certificates": {"rotateAuthority": "2026-11", "overlapMinutes": 5}})
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert (config.rotate_authority, config.overlap_minutes, config.authority_days) == ("2026-11", 5, 3650)


def test_the_version_names_the_image() -> None:
    found = containers(render(CIDR | {"kubernetes": {"version": "v1.35.4"}}))
    images = {item["image"] for name, item in found.items() if name != "hypervisor"}
    assert images == {"loft.sh/kubernetes:v1.35.4"}


def test_a_kubeconfig_for_another_namespace_gives_a_right_to_that_secret_only() -> None:
    objects = render(CIDR | {"exportKubeConfig": {"secrets": [{"name": "out", "namespace": "ops"}, {"name": "in"}]}})
    role = find(objects, "Role", "vc-team-dev-out")
    assert role["metadata"]["namespace"] == "ops"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["out"], "verbs": ["get", "patch"]}
    ]
    assert [item["metadata"]["name"] for item in objects if item["kind"] == "Secret"] == ["out"]


def test_the_ingress_host_is_in_the_certificate() -> None:
    objects = render(CIDR | {"expose": {"ingress": {"enabled": True, "host": "api.example.com", "className": "c"}}})
    assert find(objects, "Ingress", "dev")["spec"]["ingressClassName"] == "c"
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert (config.extra_names, config.ingress_host) == (("api.example.com",), "api.example.com")


def test_minutes_of_validity_replace_the_hours() -> None:
    for values, minutes in (({}, 8760 * 60), ({"validityHours": 2}, 120), ({"validityMinutes": 5}, 5)):
        data = find(render(CIDR | {"certificates": values}), "ConfigMap", "vc-dev-config")["data"]["config.json"]
        assert parse_config(data.encode()).certificate_minutes == minutes


def test_a_service_of_another_namespace_is_mapped_only_when_it_is_offered() -> None:
    mapped = {"mapServices": {"fromHost": [{"from": "data/db", "to": "apps/db"}, {"from": "team/x", "to": "apps/x"}]}}
    refused = helm(CIDR | mapped)
    assert refused.returncode != 0
    assert "Service data/db is not offered; beside namespace team those are that hostServices lists" in refused.stderr
    assert helm(CIDR | mapped | {"hostServices": ["data/other", "dat/*"]}).returncode != 0
    for offered in ("data/db", "data/*"):
        objects = render(CIDR | mapped | {"hostServices": [offered]})
        role = find(objects, "Role", "vc-team-dev-services")
        assert role["metadata"]["namespace"] == "data"
        assert role["rules"] == [
            {"apiGroups": [""], "resources": ["services"], "resourceNames": ["db"], "verbs": ["get", "list", "watch"]}
        ]
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert [(item.source, item.target) for item in config.from_host] == [("data/db", "apps/db"), ("team/x", "apps/x")]


def test_services_are_mapped_by_arguments_of_earlier_charts_too() -> None:
    words = ["--map-host-service=team/db=apps/db", "--map-virtual-service=apps/web=web"]
    objects = render(CIDR | {"syncer": {"extraArgs": words}})
    config = parse_config(find(objects, "ConfigMap", "vc-dev-config")["data"]["config.json"].encode())
    assert [(item.source, item.target) for item in config.from_host] == [("team/db", "apps/db")]
    assert [(item.source, item.target) for item in config.from_virtual] == [("apps/web", "web")]
    for word, says in (
        ("--map-host-service=db=apps/db", "is not offered"),
        ("--map-host-service=team/db=db", "must be NAMESPACE/NAME"),
        ("--map-host-service=team/db", "must be"),
        ("--map-virtual-service=apps/web=a/b", "must be a name"),
    ):
        refused = helm(CIDR | {"syncer": {"extraArgs": [word]}})
        assert refused.returncode != 0 and says in refused.stderr, word
