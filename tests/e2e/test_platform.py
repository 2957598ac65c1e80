"""The main job: from a password to a pod in a virtual cluster of one's own, through the central instance."""

import json
import time

import pytest
import yaml

from e2e.shell import wait_for
from e2e.workday import Workday

CLUSTER = "loft-cluster"


@pytest.fixture(scope="module")
def user(platform):
    return platform.admin("user")


@pytest.fixture(scope="module")
def dev(user):
    """A virtual cluster in a space of its own; its context is current."""
    began = time.monotonic()
    said = user.loft("create", "vcluster", "dev", "--cluster", CLUSTER).stderr
    print(f"loft create vcluster: usable after {time.monotonic() - began:.1f} s")
    assert "Successfully created the virtual cluster dev in cluster loft-cluster and space vcluster-dev-" in said
    context = user.kubectl("config", "current-context").stdout.strip()
    work = Workday(user, context, "a virtual cluster", 18081)
    work.deploy()
    yield work
    place = ("--cluster", CLUSTER, "--space", context.split("_")[2])
    user.loft("delete", "vcluster", "dev", *place, "--delete-space", timeout=180)


def test_the_instance_says_who_it_is(platform, machine):
    head = machine("curl", "-sIk", f"{platform.url}/healthz").stdout.lower()
    assert head.startswith("http/2 200")
    for line in (
        "access-control-allow-headers: *",
        "access-control-allow-methods: post, get, options, put, delete, patch",
        "access-control-allow-origin: *",
        "cache-control: no-cache, private",
    ):
        assert line in head
    version = json.loads(machine("curl", "-sk", f"{platform.url}/version").stdout)
    assert version["kubeVersion"] == "v1.36.3"


def test_a_second_start_finds_the_first(machine):
    began = time.monotonic()
    result = machine("loft", "start")
    print(f"loft start on a running platform: {time.monotonic() - began:.1f} s")
    assert "Existing Loft instance found" in result.stderr
    assert "Password" not in result.stdout + result.stderr


def test_login_says_who_one_is(user, platform):
    assert "user: admin" in user.loft("login").stderr
    assert user.loft("vars", "username").stdout.strip() == "admin"
    assert "loft-admins" in user.loft("list", "teams").stdout
    assert CLUSTER in user.loft("list", "clusters").stdout


def test_a_key_logs_in_as_well_as_a_password(user, platform):
    key = json.loads(user.loft("token").stdout)["status"]["token"]
    other = platform.person("by-key")
    assert "user: admin" in other.loft("login", platform.url, "--access-key", key).stderr


def test_the_new_context_is_a_cluster_of_ones_own(dev, user):
    names = {item["metadata"]["name"] for item in user.get("namespaces")["items"]}
    assert names == {"default", "kube-node-lease", "kube-public", "kube-system"}
    assert dev.context.startswith("loft-vcluster_dev_vcluster-dev-")
    assert dev.context.endswith(f"_{CLUSTER}")


def test_its_context_holds_no_secret(user, dev):
    config = yaml.safe_load((user.home / ".kube/config").read_text())
    (entry,) = [item["user"] for item in config["users"] if item["name"] == dev.context]
    assert set(entry) <= {"exec", "extensions"}
    assert entry["exec"]["args"] == ["token", "--silent", "--config", str(user.home / ".loft/config.json")]


def test_a_service_is_reached_by_name(dev):
    dev.reaches_a_service_by_name()


def test_logs_follow(dev):
    dev.follows_logs()


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_exec_cp_and_port_forward_over_both_protocols(dev, websockets, tmp_path):
    person = dev.person.with_environment(
        KUBECTL_REMOTE_COMMAND_WEBSOCKETS=websockets, KUBECTL_PORT_FORWARD_WEBSOCKETS=websockets
    )
    work = Workday(person, dev.context, dev.where, 18082)
    work.works_inside_a_container()
    work.attaches()
    work.copies_files(tmp_path)
    work.forwards_a_port()


def test_a_claim_is_written(dev):
    dev.keeps_data()


def test_helm_installs_a_chart(dev):
    dev.installs_a_chart()


def test_a_watch_goes_on_beyond_the_usual_time_outs(dev):
    """Envoy's default idle time-out of a stream is five minutes, of a route 15 s: the watch must outlive the latter."""
    with dev.person.started("kubectl", "--context", dev.context, "get", "configmaps", "--watch-only") as watch:
        time.sleep(20)
        dev.kubectl("create", "configmap", "late")
        lines = [watch.stdout.readline(), watch.stdout.readline()]
    assert lines[0].startswith("NAME")
    assert lines[1].startswith("late")


def test_a_space_is_a_namespace_with_its_owner(user):
    user.loft("create", "space", "team-a", "--cluster", CLUSTER)
    try:
        assert user.kubectl("config", "current-context").stdout.strip() == f"loft_team-a_{CLUSTER}"
        work = Workday(user, f"loft_team-a_{CLUSTER}", "a space", 18083)
        work.deploy()
        work.reaches_a_service_by_name()
        work.works_inside_a_container()
        assert "team-a" in user.loft("list", "spaces").stdout
    finally:
        user.loft("delete", "space", "team-a")
    wait_for(lambda: "team-a" not in user.loft("list", "spaces").stdout)


def test_contexts_of_others_are_kept(user):
    user.kubectl("config", "set-context", "mine", "--cluster=mine", "--user=me")
    user.loft("use", "cluster", CLUSTER)
    assert "mine" in user.kubectl("config", "get-contexts", "-o", "name").stdout
    assert {item["metadata"]["name"] for item in user.get("nodes")["items"]} == {CLUSTER}


def test_the_management_api_answers_kubectl(user):
    user.loft("use", "management")
    assert "admin" in user.kubectl("get", "users").stdout
    assert CLUSTER in user.kubectl("get", "clusters").stdout
    assert "loft:user:admin" in user.kubectl("get", "selves").stdout
    assert "displayName" in user.kubectl("explain", "cluster.spec").stdout


def test_a_virtual_cluster_by_kubectl_as_the_documents_say(user, machine):
    """As the documents have it: an image of another distribution, and the Service CIDR as its argument."""
    user.loft("create", "space", "by-kubectl", "--cluster", CLUSTER)
    try:
        cidr = machine.get("servicecidr", "kubernetes")["spec"]["cidrs"][0]
        values = {"virtualCluster": {"image": "rancher/k3s:v1.21.2-k3s1", "extraArgs": [f"--service-cidr={cidr}"]}}
        manifest = {
            "apiVersion": "storage.loft.sh/v1",
            "kind": "VirtualCluster",
            "metadata": {"name": "written", "namespace": "by-kubectl"},
            "spec": {"helmRelease": {"values": yaml.safe_dump(values)}},
        }
        user.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        user.kubectl("wait", "virtualcluster/written", "--for=jsonpath={.status.controlPlaneReady}=true")
        status = user.get("virtualcluster", "written")["status"]
        assert "rancher/k3s:v1.21.2-k3s1 is not supported" in status["message"]
        user.loft("use", "vcluster", "written")
        assert "kube-system" in user.kubectl("get", "namespaces").stdout
        user.loft("use", "space", "by-kubectl")
        user.kubectl("delete", "virtualcluster", "written", "--timeout=90s")
        assert user.get("statefulsets")["items"] == []
    finally:
        user.loft("delete", "space", "by-kubectl")


def test_a_plain_kubeconfig_with_an_access_key(user, platform, dev, tmp_path):
    key = json.loads(user.loft("token").stdout)["status"]["token"]
    space = dev.context.split("_")[2]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "loft",
                "cluster": {
                    "insecure-skip-tls-verify": True,
                    "server": f"{platform.url}/kubernetes/virtualcluster/{CLUSTER}/{space}/dev",
                },
            }
        ],
        "contexts": [{"name": "loft", "context": {"cluster": "loft", "user": "loft"}}],
        "current-context": "loft",
        "users": [{"name": "loft", "user": {"token": key}}],
    }
    (tmp_path / "kubeconfig.yaml").write_text(yaml.safe_dump(config))
    assert "kube-system" in user.kubectl("--kubeconfig", str(tmp_path / "kubeconfig.yaml"), "get", "ns").stdout


def test_logout_ends_the_key(platform):
    person = platform.admin("leaving")
    key = json.loads(person.loft("token").stdout)["status"]["token"]
    person.loft("logout")
    assert person.loft("list", "spaces", check=False).returncode != 0
    again = platform.person("thief").loft("login", platform.url, "--access-key", key, check=False)
    assert again.returncode != 0
