"""Keys, owners, kubeconfigs and disks that are not good enough: what people read, in `loft` and in kubectl."""

import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
import yaml

CLUSTER = "loft-cluster"
MANAGEMENT = ("--context", "loft-management")
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def admin(platform):
    person = platform.admin("keys-admin")
    person.loft("use", "management")
    return person


@pytest.fixture(scope="module")
def bob(admin, platform):
    """A user without any rights."""
    user = {"apiVersion": "management.loft.sh/v1", "kind": "User", "metadata": {"name": "bob"}, "spec": {}}
    admin.kubectl(*MANAGEMENT, "apply", "-f", "-", stdin=json.dumps(user))
    profile = {"apiVersion": "management.loft.sh/v1", "kind": "UserProfile", "password": PASSWORD}
    path = "/apis/management.loft.sh/v1/users/bob/profile"
    admin.kubectl(*MANAGEMENT, "create", "--raw", path, "-f", "-", stdin=json.dumps(profile))
    person = platform.person("bob")
    person.loft("login", platform.url, "--username", "bob", "--password", PASSWORD)
    yield person
    admin.kubectl(*MANAGEMENT, "delete", "user", "bob")


@pytest.fixture(scope="module")
def space(admin):
    admin.loft("create", "space", "refusals", "--cluster", CLUSTER, "--no-switch-context")
    yield "refusals"
    admin.loft("delete", "space", "refusals", "--cluster", CLUSTER)


@pytest.fixture
def new_key(admin):
    """Makes access keys by kubectl; returns their name and the key."""
    made = []

    def make(**spec):
        body = {"apiVersion": "management.loft.sh/v1", "kind": "OwnedAccessKey", "spec": spec}
        wish = json.dumps(body | {"metadata": {"generateName": "refused-"}})
        created = json.loads(admin.kubectl(*MANAGEMENT, "create", "-o", "json", "-f", "-", stdin=wish).stdout)
        made.append(created["metadata"]["name"])
        return made[-1], created["spec"]["key"]

    yield make
    admin.kubectl(*MANAGEMENT, "delete", "ownedaccesskey", "--ignore-not-found", *made)


def fatal(result, code):
    """The one line that a command ends with."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("[fatal]")]
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    return line


# Keys


@pytest.mark.parametrize(
    ("spec", "says"), [({"disabled": True}, "the access key is disabled"), ({"ttl": 1}, "the access key has expired")]
)
def test_a_key_that_works_no_more_says_why(platform, new_key, tmp_path, spec, says):
    _, key = new_key(**spec)
    time.sleep(2)
    person = platform.person("by-key")
    assert says in fatal(person.loft("login", platform.url, "--access-key", key, check=False), 4)
    assert not (person.home / ".loft/config.json").exists()


def test_a_limited_key_says_so(platform, new_key):
    _, key = new_key(ttl=300, scope={"rules": [{"requestTargets": ["Management"]}]})
    person = platform.person("limited")
    person.loft("login", platform.url, "--access-key", key)
    line = fatal(person.loft("list", "spaces", "--cluster", CLUSTER, check=False), 5)
    assert "use one with a wider scope" in line


def test_after_a_key_is_deleted_every_way_says_so(platform, admin, new_key):
    name, key = new_key()
    person = platform.person("deleted")
    person.loft("login", platform.url, "--access-key", key)
    person.loft("use", "cluster", CLUSTER)
    admin.kubectl(*MANAGEMENT, "delete", "ownedaccesskey", name)
    line = fatal(person.loft("list", "clusters", check=False), 4)
    assert "not known here (wrong, or deleted)" in line
    assert f"run: loft login {platform.url}" in line
    said = person.kubectl("get", "ns", check=False)
    assert said.returncode != 0
    assert "Warning: the access key is not known here" in said.stderr
    assert "[done]" in person.loft("logout").stderr
    assert "Not logged in" in person.kubectl("get", "ns", check=False).stderr


# Rights


def test_without_rights_kubectl_says_what_is_missing(bob, space):
    bob.loft("use", "cluster", CLUSTER)
    server = bob.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}").stdout
    assert 'cannot list resource "namespaces"' in bob.kubectl("get", "ns", check=False).stderr
    inside = server.replace("/cluster/", "/virtualcluster/") + f"/{space}/any"
    said = bob.kubectl("--server", inside, "get", "ns", check=False)
    assert said.returncode != 0
    assert "ask the owner of the space for access" in said.stderr


def test_without_rights_loft_says_whom_to_ask(bob, machine):
    assert "ask an administrator" in fatal(bob.loft("create", "vcluster", "v", "--cluster", CLUSTER, check=False), 5)
    kubeconfig = str(machine.state / f"clusters/{CLUSTER}/kubeconfig")
    result = bob.loft("connect", "cluster", "mine", "--kubeconfig", kubeconfig, check=False)
    assert "ask an administrator" in fatal(result, 5)


def test_who_has_a_space_needs_no_right_to_make_one(bob, space, admin):
    """A virtual cluster in a space that is there: the space is used, not made."""
    admin.loft("use", "cluster", CLUSTER)
    words = (
        "create",
        "rolebinding",
        "bob",
        "--clusterrole=loft-cluster-space-admin",
        "--user=loft:user:bob",
        "-n",
        space,
    )
    admin.kubectl(*words)
    bob.loft("create", "vcluster", "bobs", "--cluster", CLUSTER, "--space", space, "--skip-wait", "--no-create-context")
    assert "bobs" in bob.loft("list", "vclusters").stdout
    bob.loft("delete", "vcluster", "bobs", "--cluster", CLUSTER, "--space", space)


@pytest.mark.parametrize("owner", [("--user", "nobody"), ("--team", "nobody")])
def test_an_owner_who_does_not_exist_gets_nothing(admin, owner):
    for kind in ("space", "vcluster"):
        line = fatal(admin.loft("create", kind, "orphan", "--cluster", CLUSTER, *owner, check=False), 3)
        assert "'nobody' is not known" in line
    assert "orphan" not in admin.loft("list", "spaces").stdout


# Objects


def test_names_of_virtual_clusters_have_one_limit(admin, space):
    admin.loft("use", "cluster", CLUSTER)
    for group in ("storage.loft.sh", "cluster.loft.sh"):
        body = {"apiVersion": f"{group}/v1", "kind": "VirtualCluster", "metadata": {"name": "x" * 41}, "spec": {}}
        result = admin.kubectl("apply", "-n", space, "-f", "-", stdin=json.dumps(body), check=False)
        assert result.returncode != 0
        assert "must not be longer than 40 characters" in result.stderr


def test_a_virtual_cluster_that_takes_longer_is_kept(admin, space):
    place = ("--cluster", CLUSTER, "--space", space)
    result = admin.loft("create", "vcluster", "slow", *place, "--timeout", "1", "--no-create-context", check=False)
    assert "it goes on starting, use it later: loft use vcluster slow" in fatal(result, 7)
    deletion = admin.loft("delete", "vcluster", "slow", *place, "--wait", "--timeout", "1", check=False)
    # On a quick machine it is gone by then.
    assert deletion.returncode == 0 or "deletion goes on" in fatal(deletion, 7)


def test_a_kubeconfig_with_a_damaged_authority_is_told(admin, machine, tmp_path):
    config = yaml.safe_load((machine.state / f"clusters/{CLUSTER}/kubeconfig").read_text())
    config["clusters"][0]["cluster"]["certificate-authority-data"] = "eA=="
    (tmp_path / "given").write_text(yaml.safe_dump(config))
    words = ("connect", "cluster", "other", "--kubeconfig", str(tmp_path / "given"))
    assert "certificates" in fatal(admin.loft(*words, check=False), 1)
    assert "other" not in admin.loft("list", "clusters").stdout


# The disk


def test_a_disk_that_fills_up_during_a_start(machine):
    state = Path(tempfile.mkdtemp(prefix="loft-full-"))  # short: sockets lie below it
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3500m", "tmpfs", str(state)], check=True)
    environment = machine.environment | {"LOFT_STATE_DIR": str(state)}
    words = ("loft", "start", "--name", "full")

    def start(**options):
        return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300, **options)

    def fill():
        deadline = time.monotonic() + 30
        while not (state / "clusters/full/run").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with (state / "fill").open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:
                pass

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        result = start(check=False)
        filler.join(30)
        line = fatal(result, 1)
        assert "is full" in line
        assert "free some space and start again" in line
        (state / "fill").unlink(missing_ok=True)
        assert "Cluster full runs" in start(check=True).stderr
    finally:
        (state / "fill").unlink(missing_ok=True)
        subprocess.run(["loft", "uninstall", "--yes"], env=environment, check=True, capture_output=True, timeout=180)
        subprocess.run(["umount", str(state)], check=True)
        state.rmdir()
