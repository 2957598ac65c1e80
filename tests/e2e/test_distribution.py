"""A virtual cluster whose control plane is somebody else's image: all that is known is its port and its kubeconfig."""

import base64
import json
import os
from pathlib import Path

import pytest

from e2e.shell import wait_for
from e2e.virtual import VirtualCluster
from loft.embedded import images, layers, oci, registry
from loft.embedded.binaries import KUBERNETES_LINKS, find_kubernetes
from loft.embedded.layout import KUBERNETES_VERSION
from loft.hypervisor.distribution import signing_request
from loft.pki.request import new_request

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("LOFT_E2E_LONG"), reason="one of the long ones: make test-long"),
]
SCRIPT = Path(__file__).with_name("allinone.py")
ARGUMENTS = (
    "--data-dir=$(DATA_PATH)",
    "--write-kubeconfig=$(KUBECONFIG_FILE)",
    "--service-cidr=$(SERVICE_CIDR)",
    "--advertise-address=$(POD_IP)",
    "--port=$(PORT)",
    "--tls-san=$(SERVICE_IP)",
    "--tls-san=$(SERVICE_NAME)",
)


@pytest.fixture(scope="module")
def image(machine, tmp_path_factory):
    """The all-in-one image in the host's containerd, named by what is in it."""
    folder = tmp_path_factory.mktemp("image")
    reference = f"loft.sh/allinone:{layers.sha(SCRIPT.read_text(), KUBERNETES_VERSION)}"

    def made(path):
        oci.layer([oci.file("allinone.py", 0o755)], {"allinone.py": SCRIPT}, path)

    script = folder / "script.tar"
    made(script)
    kubernetes = layers.binary(find_kubernetes(KUBERNETES_VERSION), "/usr/local/bin/kubernetes", KUBERNETES_LINKS)
    archive = folder / "image.tar"
    config = oci.ImageConfig(entrypoint=("python3", "/allinone.py"), user="65532")
    oci.write_image(archive, reference, [layers.base(print), kubernetes, script], config)
    os.environ["LOFT_STATE_DIR"] = str(machine.state)
    images.import_images(registry.layout_of("loft-cluster"), [images.Built(reference, archive)], print)
    return reference


@pytest.fixture(scope="module")
def cluster(machine, image, tmp_path_factory):
    made = VirtualCluster(machine, "foreign", tmp_path_factory.mktemp("foreign"))
    machine.kubectl("delete", "namespace", "foreign", "--ignore-not-found", "--timeout=90s", timeout=100)
    machine.kubectl("create", "namespace", "foreign")
    arguments = {f"distribution.args[{at}]": word for at, word in enumerate(ARGUMENTS)}
    try:
        yield made.install(**{"distribution.image": image}, **arguments)
    finally:
        made.remove()


def test_its_pods_run_and_are_worked_in(cluster):
    cluster.deploy("web")
    assert wait_for(lambda: cluster.answers("web"))
    result = cluster("exec", "-i", "deploy/web", "--", "sh", "-c", "cat; exit 3", stdin="in", check=False)
    assert (result.returncode, result.stdout) == (3, "in")
    cluster("run", "speaks", "--image=loft.sh/demo:1", "--restart=Never", "--", "echo", "last words")
    wait_for(lambda: cluster("logs", "speaks", check=False).stdout == "last words\n")


def test_a_pod_talks_to_its_api_server_by_its_name(cluster):
    ask = "wget --no-check-certificate -qO- https://kubernetes.default.svc/version || true"
    assert wait_for(lambda: "gitVersion" in cluster("exec", "deploy/web", "--", "sh", "-c", ask, check=False).stdout)


def client_of(cluster, folder, name):
    """A client certificate of the cluster's own signer, as words for curl."""
    key, request = new_request(name)
    body = signing_request("kubernetes.io/kube-apiserver-client", request, 1) | {"metadata": {"name": name}}
    cluster("create", "-f", "-", stdin=json.dumps(body))
    cluster("certificate", "approve", name)
    signed = wait_for(lambda: cluster.get("csr", name)["status"].get("certificate"))
    for end, content in (("crt", base64.b64decode(signed)), ("key", key)):
        (folder / f"{name}.{end}").write_bytes(content)
    return "--cert", str(folder / f"{name}.crt"), "--key", str(folder / f"{name}.key")


def test_its_kubelet_api_is_for_those_whom_the_api_server_lets(cluster, machine, tmp_path):
    (pod,) = machine.get("pods", "-n", "foreign", "-l", "app.kubernetes.io/instance=foreign")["items"]
    url = f"https://{pod['status']['podIP']}:10250/pods"
    ask = ("curl", "-s", "-k", "-m", "5", url)
    assert machine(*ask, check=False).returncode
    # Known to the cluster, and without rights; then with them.
    own = client_of(cluster, tmp_path, "ann")
    assert machine(*ask, *own, check=False).returncode
    cluster("create", "clusterrole", "kubelet-caller", "--verb=create", "--resource=nodes/proxy")
    cluster("create", "clusterrolebinding", "kubelet-caller", "--clusterrole=kubelet-caller", "--user=ann")
    answer = wait_for(lambda: machine(*ask, *own, check=False).stdout)
    assert "web-" in answer and "PodList" in answer
    nodes = cluster.get("nodes")["items"]
    assert {item["status"]["addresses"][0]["address"] for item in nodes} == {pod["status"]["podIP"]}


def test_neither_the_hosts_token_nor_keys_of_ours_are_in_its_container(cluster, machine):
    words = ("exec", "-n", "foreign", "foreign-0", "-c", "distribution", "--", "sh", "-c")
    found = machine.kubectl(*words, "ls /run /var/run; ls /var/run/secrets 2>&1 || true").stdout
    assert "loft" not in found and "kubernetes.io" not in found
    assert machine.kubectl(*words, "ls -a /run/kubeconfig").stdout.split() == [".", "..", "admin.conf"]


def test_it_comes_back_after_a_restart_with_what_it_had(cluster, machine):
    before = {item["metadata"]["uid"] for item in cluster.get("pods", "-A")["items"]}
    outside = cluster.host_objects("pods")
    machine.kubectl("delete", "pod", "-n", "foreign", "foreign-0", timeout=60)
    cluster.wait_ready()
    wait_for(lambda: cluster("get", "--raw", "/readyz", check=False).returncode == 0)
    assert {item["metadata"]["uid"] for item in cluster.get("pods", "-A")["items"]} == before
    wait_for(lambda: cluster("exec", "deploy/web", "--", "true", check=False).returncode == 0)
    assert cluster.host_objects("pods") == outside


def test_nothing_stays_when_it_is_deleted(cluster, machine):
    machine.helm("uninstall", cluster.name, "-n", cluster.namespace)
    wait_for(lambda: not cluster.left(), 60)
    roles = machine.get("clusterroles,persistentvolumes")["items"]
    assert not [item["metadata"]["name"] for item in roles if "foreign" in json.dumps(item)]
