"""What goes wrong, from outside: one clear line that says what to do, an exit code, and nothing lost."""

import json
import subprocess
import time

import pytest
import yaml

CLUSTER = "loft-cluster"
PASSWORD = "correct horse battery"
EXEC = {"command": "steal", "apiVersion": "client.authentication.k8s.io/v1"}


@pytest.fixture(scope="module")
def admin(platform):
    person = platform.admin("careful")
    person.loft("use", "management")
    return person


@pytest.fixture(scope="module")
def ann(admin, platform):
    """A user without any rights."""
    user = {"apiVersion": "management.loft.sh/v1", "kind": "User", "metadata": {"name": "ann"}, "spec": {}}
    management = ("--context", "loft-management")
    admin.kubectl(*management, "apply", "-f", "-", stdin=json.dumps(user))
    profile = {"apiVersion": "management.loft.sh/v1", "kind": "UserProfile", "password": PASSWORD}
    path = "/apis/management.loft.sh/v1/users/ann/profile"
    admin.kubectl(*management, "create", "--raw", path, "-f", "-", stdin=json.dumps(profile))
    person = platform.person("ann")
    person.loft("login", platform.url, "--username", "ann", "--password", PASSWORD)
    yield person
    admin.kubectl(*management, "delete", "user", "ann")


@pytest.fixture(scope="module")
def space(admin):
    """A space with a virtual cluster object that is never deployed: its values are refused."""
    admin.loft("create", "space", "taken", "--cluster", CLUSTER, "--no-switch-context")
    yield "taken"
    admin.loft("delete", "space", "taken", "--cluster", CLUSTER)


def one_line(result, code, *says):
    lines = [line for line in result.stderr.splitlines() if line.startswith("[fatal]")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for text in says:
        assert text in lines[0], lines[0]
    assert result.returncode == code, result.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("use cluster nowhere", 3, ["'nowhere' is not known", CLUSTER]),
        ("use cluster ..", 2, ["'..' is no name for a cluster"]),
        ("use space nothing", 3, ["space nothing was not found"]),
        ("use space nothing --cluster nowhere", 3, ["'nowhere' is not known"]),
        ("use vcluster nothing", 3, ["virtual cluster nothing was not found"]),
        ("delete space nothing", 3, ["was not found"]),
        ("delete vcluster nothing", 3, ["was not found"]),
        ("create space kube-system --cluster loft-cluster", 1, ["kept for the system", "choose another name"]),
        ("create space taken --cluster loft-cluster", 6, ["taken exists already", "--use-existing"]),
        ("create space Upper --cluster loft-cluster", 2, ["'Upper' is no name for a space"]),
        ("create space a/b --cluster loft-cluster", 2, ["'a/b' is no name for a space"]),
        ("create vcluster Upper --cluster loft-cluster --space taken", 2, ["'Upper' is no name", "40"]),
        ("create vcluster dev --cluster nowhere", 3, ["'nowhere' is not known"]),
        ("create space x --cluster loft-cluster --user a --team b", 2, ["not both"]),
    ],
)
def test_names(admin, space, words, code, says):
    one_line(admin.loft(*words.split(), check=False), code, *says)


@pytest.mark.parametrize("name", ["a" * 64, "ü", "-a", ""])
def test_impossible_names_make_nothing(admin, name):
    def names():
        return [line.split()[0] for line in admin.loft("list", "spaces").stdout.splitlines()]

    before = names()
    for kind in ("space", "vcluster"):
        result = admin.loft("create", kind, "--cluster", CLUSTER, "--", name, check=False)
        assert result.returncode not in (0, 130)
        assert "Traceback" not in result.stderr
    assert names() == before


def test_wrong_credentials_say_nothing_of_who_exists(platform):
    person = platform.person("guessing")
    answers = []
    for name in ("admin", "nobody-of-that-name"):
        result = person.loft("login", platform.url, "--username", name, "--password", "wrong", check=False)
        one_line(result, 4)
        answers.append(result.stderr)
    assert answers[0] == answers[1]
    one_line(person.loft("login", platform.url, "--access-key", "wrong", check=False), 4, "log in")
    one_line(person.loft("list", "spaces", check=False), 4, "loft login")


def test_a_certificate_nobody_vouches_for_is_told_with_its_fingerprint(platform, tmp_path):
    person = platform.person("elsewhere").with_environment(LOFT_STATE_DIR=str(tmp_path))
    words = ("login", platform.url, "--username", "admin", "--password", platform.password)
    result = person.loft(*words, check=False)
    assert result.returncode == 8
    assert "SHA-256 fingerprint" in result.stderr
    assert "--ca-file" in result.stderr
    assert "--insecure" in result.stderr
    assert "user: admin" in person.loft(*words, "--insecure").stderr


def test_a_wrong_address(platform):
    person = platform.person("lost")
    for url, code, says in (
        ("https://localhost:9", 8, "cannot be reached"),
        ("http://localhost:9898", 2, "is not https"),
        ("https://10.201.0.1:6443", 8, "is not signed by an authority"),
    ):
        result = person.loft("login", url, "--username", "a", "--password", "b", check=False)
        assert (result.returncode, says in result.stderr) == (code, True), result.stderr


def test_somebody_without_rights_sees_and_makes_nothing(ann, space, admin):
    assert "taken" not in ann.loft("list", "spaces").stdout
    one_line(ann.loft("create", "space", "anns", "--cluster", CLUSTER, check=False), 5)
    one_line(ann.loft("delete", "space", "taken", "--cluster", CLUSTER, check=False), 3, "was not found")
    assert "anns" not in admin.loft("list", "spaces").stdout


def test_a_password_must_have_a_length(ann, admin):
    profile = {"apiVersion": "management.loft.sh/v1", "kind": "UserProfile", "password": "short"}
    path = "/apis/management.loft.sh/v1/users/ann/profile"
    words = ("--context", "loft-management", "create", "--raw", path, "-f", "-")
    result = admin.kubectl(*words, stdin=json.dumps(profile), check=False)
    assert result.returncode != 0
    assert "8" in result.stderr


def kubeconfig(machine, **changes):
    """The main cluster's kubeconfig with something changed in its cluster or user entry."""
    config = yaml.safe_load((machine.state / f"clusters/{CLUSTER}/kubeconfig").read_text())
    config["clusters"][0]["cluster"] |= changes.get("cluster", {})
    config["users"][0]["user"] = changes.get("user", config["users"][0]["user"])
    return yaml.safe_dump(config)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"user": {"exec": {"command": "steal", "apiVersion": "client.authentication.k8s.io/v1"}}},
            "credential by exec",
        ),
        ({"user": {"tokenFile": "/etc/shadow"}}, "refers to a file by tokenFile"),
        ({"user": {"token": "wrong"}}, "Unauthorized"),
        ({"cluster": {"server": "https://127.0.0.1:6443"}}, "this machine as seen from the central instance"),
        ({"cluster": {"server": "https://169.254.169.254"}}, "where no cluster can be"),
        ({"cluster": {"server": "http://10.201.0.1:6443"}}, "http"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(admin, machine, tmp_path, changes, says):
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(machine, **changes))
    result = admin.loft("connect", "cluster", "other", "--kubeconfig", str(path), check=False)
    assert result.returncode != 0
    one_line(result, result.returncode, says)
    assert "other" not in admin.loft("list", "clusters").stdout


def test_a_cluster_is_connected_once(admin, machine, tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(machine))
    words = ("connect", "cluster", CLUSTER, "--kubeconfig", str(path))
    one_line(admin.loft(*words, check=False), 6, "is connected already")


@pytest.mark.parametrize(
    ("metadata", "spec", "says"),
    [
        ({"name": "x" * 53}, {}, "name"),
        ({"name": "ok"}, {"nonsense": 1}, "nonsense"),
        ({"name": "ok"}, {"access": {"defaultClusterRole": 7}}, "defaultClusterRole"),
    ],
)
def test_kubectl_apply_of_what_cannot_be_is_refused(admin, space, metadata, spec, says):
    body = {"apiVersion": "storage.loft.sh/v1", "kind": "VirtualCluster", "metadata": metadata, "spec": spec}
    admin.loft("use", "cluster", CLUSTER)
    result = admin.kubectl("apply", "-n", space, "-f", "-", stdin=json.dumps(body), check=False)
    assert result.returncode != 0
    assert says in result.stderr


def test_values_that_cannot_be_honoured_are_told_at_the_object(admin, space, tmp_path):
    (tmp_path / "values.yaml").write_text("virtualCluster:\n  env: [{name: A, value: b}]\n")
    words = ("create", "vcluster", "refused", "--cluster", CLUSTER, "--space", space)
    result = admin.loft(*words, "--values", str(tmp_path / "values.yaml"), check=False)
    one_line(result, 1, "virtualCluster.env is not supported")
    admin.loft("delete", "vcluster", "refused", "--cluster", CLUSTER, "--space", space)


def test_contexts_that_lead_nowhere_any_more_say_so(admin, space):
    admin.loft("use", "cluster", CLUSTER)
    server = f"{admin.kubectl('config', 'view', '--minify', '-o', 'jsonpath={.clusters[0].cluster.server}').stdout}x"
    result = admin.kubectl("--server", server, "get", "ns", check=False)
    assert result.returncode != 0
    assert "not" in result.stderr


def test_a_kubeconfig_that_is_damaged_stays_as_it_is(platform):
    person = platform.admin("damaged")
    path = person.home / ".kube/config"
    path.parent.mkdir(exist_ok=True)
    path.write_text("contexts: [")
    one_line(person.loft("use", "cluster", CLUSTER, check=False), 1, str(path))
    assert path.read_text() == "contexts: ["


def test_a_start_while_another_runs_waits_for_it(machine):
    with machine.started("loft", "start") as first:
        assert machine.loft("start").returncode == 0
        assert first.wait(60) == 0


@pytest.mark.parametrize("after_s", [1.5, 6])
def test_a_start_that_was_killed_is_taken_up_by_the_next(machine, after_s):
    """Killed while the network is made, and while images are imported; what it began is finished or removed."""
    words = ("loft", "start", "--name", "half")
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=machine.environment)
    time.sleep(after_s)
    first.kill()
    first.wait(10)
    try:
        assert "Cluster half runs" in machine(*words, timeout=240).stderr
        kubeconfig = f"--kubeconfig={machine.state}/clusters/half/kubeconfig"
        machine.kubectl(kubeconfig, "wait", "node/half", "--for=condition=Ready", "--timeout=60s")
    finally:
        machine.loft("uninstall", "--name", "half", "--yes", timeout=180)
    assert "half" not in machine.loft("status").stdout
    assert "loft-half" not in machine("ip", "netns").stdout
