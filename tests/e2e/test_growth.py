"""A control plane of one replica becomes one of three, loses volumes, and gets over it."""

import contextlib
import json
import threading
import time

import pytest

from e2e.shell import wait_for
from e2e.test_life import LONG, made, problem_of  # noqa: F401 - a fixture
from e2e.virtual import asked_all_the_time, kill_process

pytestmark = [LONG, pytest.mark.timeout(1500)]

ASK = """
import asyncio, pathlib
from loft.hypervisor.store import ask_own
for member in asyncio.run(ask_own(pathlib.Path("/run/loft/etcd/etcd.sock"))):
    print(member.id, member.is_learner, member.has_started)
"""


def members(cluster, pod):
    """(id, whether it votes) of each member that runs, as one of them knows it; {} when it does not answer."""
    words = ("exec", f"{cluster.name}-{pod}", "-n", cluster.namespace, "-c", "hypervisor", "--", "python3", "-c", ASK)
    lines = cluster.machine.kubectl(*words, check=False).stdout.splitlines()
    return {line.split()[0]: line.split()[1:] == ["False", "True"] for line in lines}


def three_vote(cluster):
    return all(list(members(cluster, pod).values()) == [True] * 3 for pod in range(3))


def configmaps(cluster):
    items = cluster.get("configmaps", "-l", "filled=yes")["items"]
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}


def fill(cluster, number):
    labels = {"filled": "yes"}
    items = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"c-{at}", "labels": labels},
            "data": {"a": "x" * 5000},
        }
        for at in range(number)
    ]
    cluster("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def lose(machine, cluster, *numbers):
    """Delete volumes of replicas and their pods."""
    where = ("-n", cluster.namespace)
    old = {}
    for number in numbers:
        claim = f"data-{cluster.name}-{number}"
        old[claim] = machine.get("pvc", claim, *where)["metadata"]["uid"]
        machine.kubectl("delete", "pvc", claim, *where, "--wait=false")
    machine.kubectl("delete", "pod", *(f"{cluster.name}-{number}" for number in numbers), *where, "--wait=false")

    def is_new(claim):
        found = machine.kubectl("get", "pvc", claim, *where, "-o", "json", check=False)
        return not found.returncode and json.loads(found.stdout)["metadata"]["uid"] != old[claim]

    for claim in old:
        wait_for(lambda claim=claim: is_new(claim), 240)


def test_one_replica_becomes_three_and_nothing_is_lost(made, machine):  # noqa: F811
    cluster = made("grow")
    cluster.deploy("web", replicas=2)
    fill(cluster, 200)
    before, host_before = configmaps(cluster), cluster.host_objects()
    assert len(before) == 200
    volume = machine.get("pvc", f"data-{cluster.name}-0", "-n", cluster.namespace)["metadata"]["uid"]
    with asked_all_the_time(cluster) as gaps:
        cluster.helm("upgrade", {"controlPlane.replicas": 3})
        cluster.wait_ready(3)
    print("gaps", sorted(gaps)[-3:])
    assert max(gaps) < 90, gaps
    wait_for(lambda: three_vote(cluster), 60)
    assert configmaps(cluster) == before
    assert machine.get("pvc", f"data-{cluster.name}-0", "-n", cluster.namespace)["metadata"]["uid"] == volume
    assert {name: cluster.host_objects().get(name) for name in host_before} == host_before
    wait_for(lambda: cluster.answers("web"))
    # The one that held everything is no longer needed, and a later upgrade is one as any.
    machine.kubectl("delete", "pod", f"{cluster.name}-0", "-n", cluster.namespace)
    cluster.deploy("second", patience_s=30)
    cluster.helm("upgrade", {"controlPlane.replicas": 3, "dns.replicas": 2})
    cluster.rollout()
    assert machine.get("pvc", f"data-{cluster.name}-0", "-n", cluster.namespace)["metadata"]["uid"] == volume
    assert configmaps(cluster) == before
    refused = cluster.helm("upgrade", {"controlPlane.replicas": 1}, check=False)
    assert "cannot be changed from 3 to 1: take a snapshot" in refused.stderr
    machine.helm("uninstall", cluster.name, "-n", cluster.namespace)
    wait_for(lambda: not cluster.left(), 60)


def test_hypervisors_and_members_that_die_while_it_grows_are_no_harm(made, machine):  # noqa: F811
    cluster = made("growkill")
    fill(cluster, 100)
    before = configmaps(cluster)
    ended = threading.Event()

    def kill():
        program = 0
        while not ended.wait(4):
            program += 1
            name = ("loft.cmd.hypervisor", "etcd")[program % 2]
            with contextlib.suppress(AssertionError, OSError):
                kill_process(name, cluster.namespace, f"{cluster.name}-{program // 2 % 3}")

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        cluster.helm("upgrade", {"controlPlane.replicas": 3})
        time.sleep(30)
    finally:
        ended.set()
        thread.join()
    cluster.wait_ready(3, timeout_s=400)
    wait_for(lambda: three_vote(cluster), 90)
    assert configmaps(cluster) == before


def test_a_lost_volume_is_replaced_and_two_are_told(made, machine, tmp_path):  # noqa: F811
    cluster = made("lost", **{"controlPlane.replicas": 3})
    fill(cluster, 50)
    before = configmaps(cluster)
    first = members(cluster, 0)
    with asked_all_the_time(cluster) as gaps:
        lose(machine, cluster, 1)
        cluster.wait_ready(3)
        wait_for(lambda: three_vote(cluster), 90)
    assert max(gaps) < 15, gaps
    assert len(set(first) & set(members(cluster, 0))) == 2
    assert configmaps(cluster) == before

    where = ("--space", cluster.namespace, "--kubeconfig", machine.environment["KUBECONFIG"])
    path = str(tmp_path / "one.tar")
    machine.loft("snapshot", "vcluster", cluster.name, *where, "--to", path)
    lose(machine, cluster, 1, 2)
    wait_for(lambda: problem_of(machine, cluster).startswith("QuorumLost: the volumes of 2 of 3 members"), 120)
    assert "loft restore vcluster" in problem_of(machine, cluster)
    machine.loft("restore", "vcluster", cluster.name, *where, "--from", path, timeout=300)
    cluster.wait_ready(3)
    wait_for(lambda: three_vote(cluster), 60)
    assert configmaps(cluster) == before
    wait_for(lambda: not problem_of(machine, cluster), 60)


def test_the_only_volume_lost_ends_no_pods_until_a_snapshot_is_restored(made, machine, tmp_path):  # noqa: F811
    cluster = made("lostone")
    cluster.deploy("web")
    before = cluster.host_objects()
    where = ("--space", cluster.namespace, "--kubeconfig", machine.environment["KUBECONFIG"])
    path = str(tmp_path / "one.tar")
    machine.loft("snapshot", "vcluster", cluster.name, *where, "--to", path)
    values = {"dns.replicas": 1}
    in_host = ("-n", cluster.namespace)
    machine.kubectl("delete", "pvc", f"data-{cluster.name}-0", *in_host, "--wait=false")
    machine.kubectl("delete", "pod", f"{cluster.name}-0", *in_host)
    wait_for(lambda: machine.kubectl("get", "pvc", f"data-{cluster.name}-0", *in_host, check=False).returncode)
    cluster.helm("upgrade", values)
    wait_for(lambda: problem_of(machine, cluster).startswith("StoreLost: "), 120)
    assert {name: cluster.host_objects().get(name) for name in before} == before
    machine.loft("restore", "vcluster", cluster.name, *where, "--from", path, timeout=300)
    cluster.wait_ready()
    wait_for(lambda: cluster.answers("web"), 60)
    wait_for(lambda: not problem_of(machine, cluster), 60)


@pytest.mark.parametrize("replicas", [1, 3])
def test_authorities_are_exchanged_and_nobody_is_refused_who_keeps_up(made, machine, replicas):  # noqa: F811
    values = {"controlPlane.replicas": replicas, "certificates.overlapMinutes": 2}
    cluster = made(f"rotate{replicas}", **values)
    cluster.deploy("web")
    where = ("-n", cluster.namespace)

    def secret(name):
        return machine.get("secret", name, *where)

    def phase():
        found = secret(f"vc-{cluster.name}-certs")["metadata"]["annotations"].get("loft.sh/rotation", "{}")
        return json.loads(found).get("phase", "")

    def fetched(name):
        cluster.write_kubeconfig()
        path = cluster.path.with_name(name)
        path.write_text(cluster.path.read_text())
        return lambda *words: machine.kubectl(f"--kubeconfig={path}", *words, check=False)

    def token():
        return cluster("create", "token", "default", "--duration=1h").stdout.strip()

    def accepted(bearer):
        words = ("auth", "whoami", f"--token={bearer}", "--kubeconfig=/dev/null", "--insecure-skip-tls-verify")
        server = f"--server=https://{machine.get('service', cluster.name, *where)['spec']['clusterIP']}"
        return "system:serviceaccount:default:default" in machine.kubectl(*words, server, check=False).stdout

    before = secret(f"vc-{cluster.name}-certs")["data"]
    first, first_token = fetched("first"), token()
    cluster.helm("upgrade", values | {"certificates.rotateAuthority": "one"})
    cluster.rollout()
    wait_for(lambda: phase() == "trusting", 180)
    # With one replica nobody answers while it is started anew.
    patience_s = 15 if replicas > 1 else 90
    # Who has the old bundle goes on through the whole first overlap.
    deadline = time.monotonic() + 600
    while phase() == "trusting":
        assert time.monotonic() < deadline
        wait_for(lambda: first("get", "nodes").returncode == 0, patience_s)
        time.sleep(2)
    second = fetched("second")
    while phase() == "issuing":
        assert time.monotonic() < deadline + 600
        wait_for(lambda: second("get", "nodes").returncode == 0, patience_s)
        wait_for(lambda: accepted(first_token), patience_s)
        time.sleep(2)
    after = secret(f"vc-{cluster.name}-certs")["data"]
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())
    wait_for(lambda: fetched("third")("get", "nodes").returncode == 0, 30)
    cluster.rollout()
    refused = first("get", "nodes")
    assert "certificate signed by unknown authority" in refused.stderr or "x509" in refused.stderr
    wait_for(lambda: not accepted(first_token), 120)
    assert accepted(token())
    cluster.write_kubeconfig()
    cluster.deploy("later", patience_s=30)
    wait_for(lambda: cluster.answers("later") and cluster.answers("web"))
    # The same wish is no new one.
    cluster.helm("upgrade", values | {"certificates.rotateAuthority": "one"})
    time.sleep(40)
    assert secret(f"vc-{cluster.name}-certs")["data"] == after
