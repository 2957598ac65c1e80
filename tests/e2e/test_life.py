"""The life of virtual clusters on a real host: replicas that die, versions, snapshots, a full store, deletion."""

import base64
import hashlib
import json
import os
import signal
import time
from datetime import UTC, datetime

import pytest
from cryptography import x509

from e2e.shell import wait_for
from e2e.virtual import VirtualCluster, asked_all_the_time, kill_process
from loft.cli import snapshots
from loft.cli.snapshots import Metadata
from loft.embedded.binaries import PROGRAMS
from loft.embedded.layout import KUBERNETES_VERSION
from loft.pki.authority import issue, new_authority

OLDER = "v1.35.4"

pytestmark = pytest.mark.timeout(600)
LONG = pytest.mark.skipif(not os.environ.get("LOFT_E2E_LONG"), reason="one of the long ones: make test-long")


@pytest.fixture
def made(machine, tmp_path):
    """Makes virtual clusters, which are removed at the end."""
    clusters = []

    def make(name, keep_namespace=False, **values):
        cluster = VirtualCluster(machine, f"life-{name}", tmp_path)
        clusters.append(cluster)
        if not keep_namespace:
            cluster.remove()
            machine.kubectl("create", "namespace", cluster.namespace)
        return cluster.install(**values)

    yield make
    for cluster in clusters:
        cluster.remove()


def wrote(cluster, name):
    """Whether a ConfigMap can be written now."""
    body = f'{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{name}"}}, "data": {{"a": "b"}}}}'
    return cluster("apply", "-f", "-", stdin=body, check=False).returncode == 0


@LONG
def test_three_replicas_outlive_the_death_of_any_of_them(made, machine):
    cluster = made("ha", **{"controlPlane.replicas": 3})
    cluster.deploy("web", replicas=3)
    before = cluster.host_objects()
    with asked_all_the_time(cluster) as gaps:
        first = cluster.leader()
        machine.kubectl("delete", "pod", first, "-n", cluster.namespace, "--wait=false")
        wait_for(lambda: cluster.leader() not in ("", first))
        cluster.deploy("second")
        cluster.wait_ready(3)
        for number in range(3):
            kill_process("etcd", cluster.namespace, f"{cluster.name}-{number}")
            # While etcd finds a new leader a write may be refused, as in every cluster; a moment later it is not.
            wait_for(lambda name=f"after-{number}": wrote(cluster, name), 30)
            cluster.wait_ready(3)
        kill_process("loft.cmd.hypervisor", cluster.namespace, cluster.leader())
        # For the moment until its pod is not ready, its API server asks a webhook that is not there about Services.
        cluster.deploy("third", patience_s=15)
        # A leader whose own API server hangs lets another one work.
        first = cluster.leader()
        frozen = kill_process("kube-apiserver", cluster.namespace, first, signal.SIGSTOP)
        wait_for(lambda: cluster.leader() not in ("", first))
        cluster.deploy("fourth", patience_s=30)
        os.kill(frozen, signal.SIGCONT)
        cluster.wait_ready(3)
    assert max(gaps) < 15, gaps
    wait_for(cluster.pods_match)
    after = cluster.host_objects()
    assert {name: after.get(name) for name in before} == before
    assert cluster.answers("web")
    endpoints = cluster.get("endpointslice", "kubernetes")["endpoints"]
    addresses = {item["addresses"][0] for item in endpoints}
    pods = machine.get("pods", "-n", cluster.namespace, "-l", "app.kubernetes.io/instance=" + cluster.name)["items"]
    assert wait_for(lambda: addresses == {pod["status"]["podIP"] for pod in pods})
    refused = cluster.helm("upgrade", {"controlPlane.replicas": 1}, check=False)
    assert "controlPlane.replicas cannot be changed from 3 to 1" in refused.stderr
    machine.helm("uninstall", cluster.name, "-n", cluster.namespace)
    wait_for(lambda: not cluster.left(), 60)


@pytest.fixture
def older(machine):
    """An older minor version in the host's containerd. Its build takes minutes, so it is asked for, not made here."""
    if not PROGRAMS[f"kubernetes-{OLDER}"].is_built:
        pytest.skip(f"Kubernetes {OLDER} is not in the cache; build it with: loft start --kubernetes-versions {OLDER}")
    if not os.environ.get("LOFT_E2E_STATE"):
        machine.loft("start", "--kubernetes-versions", OLDER, timeout=600)
    return OLDER


@LONG
def test_an_older_minor_version_beside_the_hosts_is_upgraded_in_place_and_never_back(made, machine, older):
    # The image of the version, also where others are being worked on.
    own = {"kubernetes.image": f"loft.sh/kubernetes:{older}"}
    cluster = made("old", **{"kubernetes.version": older}, **own)
    assert f"Server Version: {older}" in cluster("version").stdout
    cluster.deploy("web")
    wait_for(lambda: cluster.answers("web"))
    inside = {item["metadata"]["uid"] for item in cluster.get("pods", "-A")["items"]}
    before = cluster.host_objects()

    skipped = cluster.helm("upgrade", {"kubernetes.version": "v1.37.0"}, check=False)
    assert "minor versions cannot be skipped; upgrade to v1.36 first" in skipped.stderr
    cluster.helm("upgrade", {"kubernetes.version": KUBERNETES_VERSION})
    cluster.rollout()
    assert f"Server Version: {KUBERNETES_VERSION}" in cluster("version").stdout
    assert {item["metadata"]["uid"] for item in cluster.get("pods", "-A")["items"]} == inside
    assert {name: uid for name, uid in cluster.host_objects().items() if name in before} == before
    cluster.deploy("second")
    wait_for(lambda: cluster.answers("web"))

    refused = cluster.helm("upgrade", {"kubernetes.version": older} | own, check=False)
    assert f"kubernetes.version cannot go back from {KUBERNETES_VERSION} to {older}" in refused.stderr
    # A rollback does not ask the chart; the hypervisor then lets nothing begin, and says so.
    machine.helm("rollback", cluster.name, "1", "-n", cluster.namespace)
    problem = wait_for(
        lambda: (
            machine.get("statefulset", cluster.name, "-n", cluster.namespace)["metadata"]
            .get("annotations", {})
            .get("loft.sh/problem")
        )
    )
    assert problem.startswith(f"VersionNotPossible: Kubernetes {older} cannot read the store")
    cluster.helm("upgrade", {"kubernetes.version": KUBERNETES_VERSION})
    cluster.rollout()
    wait_for(lambda: cluster.answers("second"))


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: backups}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


@pytest.mark.parametrize("replicas", [1, pytest.param(3, marks=LONG)])
def test_a_snapshot_brings_back_what_was_and_touches_no_stranger(made, machine, tmp_path, replicas):
    cluster = made(f"snap{replicas}", **{"controlPlane.replicas": replicas})
    where = ("--space", cluster.namespace, "--kubeconfig", machine.environment["KUBECONFIG"])
    in_host = ("-n", cluster.namespace)
    cluster.deploy("stays")
    cluster.deploy("goes")
    cluster("create", "configmap", "before", "--from-literal=a=b")
    stayed = {name: uid for name, uid in cluster.host_objects().items() if "stays" in name}
    assert len(stayed) >= 2  # its pod and its Service
    machine.loft("snapshot", "vcluster", cluster.name, *where, "--to", str(tmp_path / "one.tar"))

    cluster("delete", "deployment,service", "goes")
    cluster("delete", "configmap", "before")
    cluster.deploy("comes")
    machine.kubectl("create", "configmap", "stranger", *in_host, "--from-literal=a=b")
    machine.kubectl("run", "stranger", *in_host, "--image=loft.sh/demo:1", "--", "sleep", "100000")
    machine.kubectl("wait", *in_host, "pod/stranger", "--for=condition=Ready", "--timeout=60s")
    strangers = [machine.get(kind, "stranger", *in_host)["metadata"]["uid"] for kind in ("pod", "configmap")]
    second = str(tmp_path / "two.tar") if replicas > 1 else "pvc://backups/day/two.tar"
    machine.kubectl("apply", *in_host, "-f", "-", stdin=CLAIM)
    machine.loft("snapshot", "vcluster", cluster.name, *where, "--to", second)

    machine.loft("restore", "vcluster", cluster.name, *where, "--from", str(tmp_path / "one.tar"), timeout=300)
    cluster("get", "configmap", "before")
    assert {item["metadata"]["name"] for item in cluster.get("deployments")["items"]} == {"stays", "goes"}
    cluster("rollout", "status", "deployment/goes", "--timeout=90s")
    wait_for(lambda: cluster.pods_match(), 90)
    wait_for(lambda: not any("comes" in name for name in cluster.host_objects()))
    assert {name: cluster.host_objects().get(name) for name in stayed} == stayed
    cluster.deploy("later")
    wait_for(lambda: cluster.answers("later") and cluster.answers("goes"))

    machine.loft("restore", "vcluster", cluster.name, *where, "--from", second, timeout=300)
    assert {item["metadata"]["name"] for item in cluster.get("deployments")["items"]} == {"stays", "comes"}
    wait_for(lambda: cluster.pods_match(), 90)
    wait_for(lambda: not any("later" in name or "goes" in name for name in cluster.host_objects()))
    assert [machine.get(kind, "stranger", *in_host)["metadata"]["uid"] for kind in ("pod", "configmap")] == strangers
    assert not [item for item in machine.get("pods", *in_host)["items"] if "loft-snapshot-" in item["metadata"]["name"]]


def problem_of(machine, cluster):
    """What the hypervisor has noted on the control plane, "" for nothing."""
    found = machine.get("statefulset", cluster.name, "-n", cluster.namespace)["metadata"]
    return found.get("annotations", {}).get("loft.sh/problem", "")


@LONG
def test_a_full_store_says_so_and_opens_again_when_there_is_space(made, machine, tmp_path):
    refused = VirtualCluster(machine, "life-full", tmp_path).helm(
        "template", {"storage.size": "608Mi", "storage.limit": "1Gi"}, check=False
    )
    assert "storage.limit 1Gi must be between 16Mi and 32Mi" in refused.stderr
    cluster = made("full", **{"storage.size": "608Mi", "storage.limit": "16Mi"})
    cluster.deploy("web")
    # A snapshot that is larger is refused before anything is stopped.
    with snapshots.writing(tmp_path / "large.tar", Metadata("x", "x", KUBERNETES_VERSION, snapshots.now())) as file:
        content = bytes(17 << 20)
        file.write(content + hashlib.sha256(content).digest())
    where = ("--space", cluster.namespace, "--kubeconfig", machine.environment["KUBECONFIG"])
    said = machine.loft(
        "restore", "vcluster", cluster.name, *where, "--from", str(tmp_path / "large.tar"), check=False
    ).stderr
    assert "the store in the snapshot is 17 MiB, and storage.limit of the virtual cluster is 16 MiB" in said
    statuses = machine.get("pod", f"{cluster.name}-0", "-n", cluster.namespace)["status"]["containerStatuses"]
    assert cluster.answers("web")
    assert not any(item["lastState"] for item in statuses if item["name"] == "etcd")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(700_000))

    def fill(number):
        return cluster("create", "configmap", f"big-{number}", f"--from-file={big}", check=False)

    results = [fill(number) for number in range(30)]
    assert any("database space exceeded" in result.stderr for result in results), results[-1].stderr
    wait_for(lambda: problem_of(machine, cluster).startswith("StoreFull: "))
    cluster("get", "configmaps")
    for number in range(30):
        cluster("delete", "configmap", f"big-{number}", "--ignore-not-found")
    wait_for(lambda: wrote(cluster, "after"), 120)
    wait_for(lambda: not problem_of(machine, cluster))
    cluster.deploy("later")
    wait_for(lambda: cluster.answers("web"))


@pytest.mark.parametrize("seconds", [pytest.param(0, marks=LONG), 3, pytest.param(8, marks=LONG)])
def test_removed_at_any_moment_of_its_creation_nothing_stays(made, machine, tmp_path, seconds):
    cluster = VirtualCluster(machine, f"life-half{seconds}", tmp_path)
    cluster.remove()
    try:
        machine.kubectl("create", "namespace", cluster.namespace)
        cluster.helm("install", {})
        time.sleep(seconds)
        machine.helm("uninstall", cluster.name, "-n", cluster.namespace)
        wait_for(lambda: not cluster.left(), 60)
        time.sleep(5)
        assert not cluster.left()
    finally:
        cluster.remove()


@LONG
def test_a_host_namespace_that_goes_takes_a_running_virtual_cluster_along(made, machine):
    cluster = made("going")
    cluster.deploy("web", replicas=3)
    machine.kubectl("delete", "namespace", cluster.namespace, "--wait=false")
    wait_for(lambda: machine.kubectl("get", "namespace", cluster.namespace, check=False).returncode, 60)


@LONG
def test_a_hypervisor_that_is_killed_while_it_works_leaves_nothing_double_and_nothing_behind(made, machine):
    cluster = made("killed")
    # No more often: the kubelet waits longer and longer before it starts a container again.
    for number in range(2):
        cluster("create", "deployment", f"app-{number}", "--image=loft.sh/demo:1", "--", "sleep", "100000")
        kill_process("loft.cmd.hypervisor", cluster.namespace, f"{cluster.name}-0")
        cluster("delete", "deployment", f"app-{number - 1}", "--ignore-not-found")
        wait_for(lambda: machine.get("pod", f"{cluster.name}-0", "-n", cluster.namespace))
        time.sleep(1)
        cluster.wait_ready()
    cluster("rollout", "status", "deployment/app-1", "--timeout=90s")
    wait_for(cluster.pods_match, 60)
    cluster("create", "deployment", "last", "--image=loft.sh/demo:1", "--replicas=3", "--", "sleep", "100000")
    kill_process("loft.cmd.hypervisor", cluster.namespace, f"{cluster.name}-0")
    machine.helm("uninstall", cluster.name, "-n", cluster.namespace)
    wait_for(lambda: not cluster.left(), 60)


@LONG
def test_people_outside_reach_it_by_a_load_balancer_with_the_kubeconfig_made_for_them(made, machine, tmp_path):
    target = {"exportKubeConfig.secrets[0].name": "for-people", "exportKubeConfig.secrets[0].namespace": "life-people"}
    machine.kubectl("create", "namespace", "life-people")
    try:
        values = {"expose.service.type": "LoadBalancer", "certificates.extraSANs[0]": "api.example.com"}
        cluster = made("outside", **values, **target)
        # What a load balancer's controller does; kube-proxy then routes the address.
        address = "10.201.15.250"
        patch = f'{{"status": {{"loadBalancer": {{"ingress": [{{"ip": "{address}"}}]}}}}}}'
        where = (cluster.name, "-n", cluster.namespace)
        machine.kubectl("patch", "service", *where, "--subresource=status", "--type=merge", "-p", patch)

        def config():
            found = machine.get("secret", "for-people", "-n", "life-people").get("data", {}).get("config", "")
            return base64.b64decode(found).decode()

        wait_for(lambda: f"https://{address}:443" in config(), 60)
        path = tmp_path / "people"
        path.write_text(config())
        # The API server looks for a changed certificate once a minute.
        wait_for(lambda: machine.kubectl(f"--kubeconfig={path}", "get", "nodes", check=False).returncode == 0, 120)
        named = ("--tls-server-name=api.example.com", "get", "namespaces")
        machine.kubectl(f"--kubeconfig={path}", *named)
        refused = machine.kubectl(f"--kubeconfig={path}", "--tls-server-name=else.example.com", *named[1:], check=False)
        assert "certificate is valid for" in refused.stderr
    finally:
        machine.kubectl("delete", "namespace", "life-people", "--timeout=60s")


ETCD = """
apiVersion: v1
kind: Pod
metadata: {name: etcd, labels: {app: etcd}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
  containers:
  - name: etcd
    image: IMAGE
    command:
    - etcd
    - --data-dir=/data
    - --listen-client-urls=https://0.0.0.0:2379
    - --advertise-client-urls=https://etcd.life-etcd.svc:2379
    - --client-cert-auth=true
    - --trusted-ca-file=/tls/ca.crt
    - --cert-file=/tls/tls.crt
    - --key-file=/tls/tls.key
    volumeMounts: [{name: tls, mountPath: /tls}, {name: data, mountPath: /data}]
  volumes: [{name: tls, secret: {secretName: etcd, defaultMode: 0440}}, {name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: etcd}
spec: {selector: {app: etcd}, ports: [{port: 2379}]}
"""


def certificate_files(folder):
    """An authority, and a certificate that serves for the etcd and for its clients."""
    authority = new_authority("etcd", datetime.now(UTC))
    pair = issue(
        authority, common_name="etcd", dns=("etcd.life-etcd.svc",), usage="both", now=datetime.now(UTC), days=1
    )
    for name, content in {"ca.crt": authority.cert, "tls.crt": pair.cert, "tls.key": pair.key}.items():
        (folder / name).write_bytes(content)
    return [f"--from-file={folder / name}" for name in ("ca.crt", "tls.crt", "tls.key")]


def keys_below(machine, cluster, folder):
    """How many keys the external etcd holds for a virtual cluster."""
    address = machine.get("service", "etcd", "-n", "life-etcd")["spec"]["clusterIP"]
    start = f"/{cluster.namespace}/{cluster.name}/"
    body = {"key": start, "range_end": start[:-1] + "0"}
    encoded = {name: base64.b64encode(key.encode()).decode() for name, key in body.items()} | {"count_only": True}
    tls = ("--cacert", str(folder / "ca.crt"), "--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key"))
    host = "etcd.life-etcd.svc:2379"
    where = ("--noproxy", "*", "--resolve", f"{host}:{address}", f"https://{host}/v3/kv/range")
    said = machine("curl", "-sS", "--fail", *tls, *where, "-d", json.dumps(encoded)).stdout
    return int(json.loads(said).get("count", 0))


@LONG
def test_two_virtual_clusters_in_one_external_etcd_know_nothing_of_each_other(made, machine, tmp_path):
    files = certificate_files(tmp_path)
    machine.kubectl("create", "namespace", "life-etcd")
    try:
        machine.kubectl("create", "secret", "generic", "etcd", "-n", "life-etcd", *files)
        body = ETCD.replace("IMAGE", f"loft.sh/kubernetes:{KUBERNETES_VERSION}")
        machine.kubectl("apply", "-n", "life-etcd", "-f", "-", stdin=body)
        machine.kubectl("wait", "-n", "life-etcd", "pod/etcd", "--for=condition=Ready", "--timeout=60s")
        store = {"externalEtcd.endpoints[0]": "https://etcd.life-etcd.svc:2379", "externalEtcd.secretName": "etcd"}
        clusters = []
        for name in ("ext-a", "ext-b"):
            machine.kubectl("delete", "namespace", f"life-{name}", "--ignore-not-found", "--timeout=60s")
            machine.kubectl("create", "namespace", f"life-{name}")
            machine.kubectl("create", "secret", "generic", "etcd", "-n", f"life-{name}", *files)
            clusters.append(made(name, keep_namespace=True, **store))
        for cluster in clusters:
            cluster("create", "configmap", f"of-{cluster.name}", "--from-literal=a=b")
            cluster.deploy("web")
        for cluster in clusters:
            found = {item["metadata"]["name"] for item in cluster.get("configmaps")["items"]}
            assert found - {"kube-root-ca.crt"} == {f"of-{cluster.name}"}
        said = machine.loft(
            *("snapshot", "vcluster", clusters[0].name, "--space", clusters[0].namespace, "--to", str(tmp_path / "x")),
            *("--kubeconfig", machine.environment["KUBECONFIG"]),
            check=False,
        )
        assert "its store is an external etcd" in said.stderr

        # What is below the prefix goes or stays, as was said.
        def kept():
            return {cluster.name: keys_below(machine, cluster, tmp_path) for cluster in clusters}

        assert min(kept().values()) > 50
        clusters[1].helm("upgrade", store | {"externalEtcd.retentionPolicy": "Delete"})
        clusters[1].rollout()
        for cluster in clusters:
            machine.helm("uninstall", cluster.name, "-n", cluster.namespace, timeout=180)
        assert kept()[clusters[1].name] == 0
        assert kept()[clusters[0].name] > 50
        for cluster in clusters:
            wait_for(lambda cluster=cluster: not set(cluster.left()) - {"Secret/etcd"}, 60)
    finally:
        machine.kubectl("delete", "namespace", "life-etcd", "--timeout=60s")


@pytest.mark.parametrize("seconds", [pytest.param(0, marks=LONG), 4])
def test_deleted_through_the_platform_before_it_runs_nothing_stays(platform, machine, tmp_path, seconds):
    user = platform.admin("life")
    cluster = VirtualCluster(machine, f"life-early{seconds}", tmp_path)
    place = ("--cluster", "loft-cluster", "--space", cluster.namespace)
    user.loft("create", "space", cluster.namespace, "--cluster", "loft-cluster", "--no-create-context")
    try:
        before = cluster.left()
        user.loft("create", "vcluster", cluster.name, *place, "--skip-wait", "--no-create-context")
        time.sleep(seconds)
        user.loft("delete", "vcluster", cluster.name, *place, "--wait", "--timeout", "60", timeout=90)
        wait_for(lambda: cluster.left() == before, 60)
    finally:
        user.loft("delete", "space", cluster.namespace, "--wait", check=False, timeout=150)


def test_a_space_that_goes_takes_its_virtual_cluster_along_while_it_starts(platform, machine):
    user = platform.admin("life")
    place = ("--cluster", "loft-cluster", "--space", "life-space")
    user.loft("create", "vcluster", "one", *place, "--skip-wait", "--no-create-context")
    time.sleep(3)
    user.loft("delete", "space", "life-space", "--wait", "--timeout", "60", timeout=90)
    assert machine.kubectl("get", "namespace", "life-space", check=False).returncode


@LONG
@pytest.mark.timeout(1500)
def test_certificates_are_renewed_through_two_lifetimes_and_all_goes_on(made, machine):
    cluster = made("certs", **{"controlPlane.replicas": 3, "certificates.validityMinutes": 5})
    cluster.deploy("web")
    first = cluster.path.read_text()
    seen = set()
    end = time.monotonic() + 2 * 5 * 60 + 60
    number = 0
    while time.monotonic() < end:
        number += 1
        cluster.write_kubeconfig()
        seen.add(cluster.path.read_text())
        # The admission of Services, the controllers, the kubelet's way, the hypervisor's own client.
        wait_for(lambda: cluster.answers("web"), 30)
        cluster.deploy(f"app-{number}")
        cluster("delete", "deployment,service", f"app-{number}")
        gateway = machine.get("secret", f"vc-{cluster.name}-gateway", "-n", cluster.namespace)["data"]["tls.crt"]
        loaded = x509.load_pem_x509_certificate(base64.b64decode(gateway))
        assert loaded.not_valid_after_utc > datetime.now(UTC)
        time.sleep(15)
    assert len(seen) >= 3
    old = cluster.path.with_name("first")
    old.write_text(first)
    refused = machine.kubectl(f"--kubeconfig={old}", "get", "nodes", check=False)
    assert "Unauthorized" in refused.stderr or "logged in" in refused.stderr
    machine.kubectl("delete", "pod", f"{cluster.name}-0", "-n", cluster.namespace)
    cluster.wait_ready(3)
    cluster.deploy("last")
