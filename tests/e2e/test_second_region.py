"""A second cluster with its own agent: reached through the centre, straight, and while the centre is away."""

import base64

import pytest
import trustme
import yaml

from e2e import ingress
from e2e.shell import wait_for
from e2e.workday import Workday
from integration.gateway.bed import free_ports

NAME = "east"
ENDPOINT = "loft.sh/direct-cluster-endpoint"
INSECURE = f"{ENDPOINT}-insecure"
AUTHORITY = f"{ENDPOINT}-ca-data"


class Region:
    """The second cluster as its administrator sees it."""

    def __init__(self, machine, admin):
        self.kubeconfig = machine.state / f"clusters/{NAME}/kubeconfig"
        self.machine, self.admin = machine, admin

    def node_port(self, name):
        words = ("get", "service", "loft-agent", "-n", "loft", "-o", f'jsonpath={{.spec.ports[?(@.name=="{name}")]}}')
        said = self.machine.kubectl("--kubeconfig", str(self.kubeconfig), *words).stdout
        return yaml.safe_load(said)["nodePort"]

    @property
    def address(self):
        config = yaml.safe_load(self.kubeconfig.read_text())
        return config["clusters"][0]["cluster"]["server"].split("/")[2].split(":")[0]

    def annotate(self, **annotations):
        """Set the endpoint's annotations, and no others of them."""
        wanted = {ENDPOINT: None, INSECURE: None, AUTHORITY: None} | annotations
        patch = yaml.safe_dump({"metadata": {"annotations": wanted}})
        self.admin.kubectl("--context", "loft-management", "patch", "cluster", NAME, "--type=merge", "-p", patch)

    def annotations(self):
        return self.admin.get("--context", "loft-management", "cluster", NAME)["metadata"].get("annotations", {})


@pytest.fixture(scope="module")
def east(platform, machine):
    admin = platform.admin("region")
    machine.loft("start", "--name", NAME, timeout=300)
    region = Region(machine, admin)
    if NAME not in admin.loft("list", "clusters").stdout:
        said = admin.loft("connect", "cluster", NAME, "--kubeconfig", str(region.kubeconfig)).stderr
        assert f"Successfully connected cluster {NAME}" in said
    admin.loft("use", "management")
    region.annotate()
    yield region
    admin.loft("use", "management")
    admin.kubectl("delete", "cluster", NAME)
    machine.loft("uninstall", "--name", NAME, "--yes", timeout=180)


@pytest.fixture(scope="module")
def endpoint(east):
    """The direct endpoint that is the agent itself, with a certificate of the centre's authority."""
    host = f"{east.address}:{east.node_port('https')}"
    east.annotate(**{ENDPOINT: host})
    return f"https://{host}"


def server_of(person, context):
    config = yaml.safe_load(person.kubectl("config", "view", "--raw").stdout)
    return next(item["cluster"] for item in config["clusters"] if item["name"] == context)


def test_it_is_used_at_once_through_the_centre(east, platform):
    assert "Using direct" not in east.admin.loft("use", "cluster", NAME).stderr
    nodes = east.admin.get("nodes")["items"]
    assert [item["metadata"]["name"] for item in nodes] == [NAME]
    assert server_of(east.admin, f"loft_{NAME}")["server"] == f"{platform.url}/kubernetes/cluster/{NAME}"


def test_the_endpoint_answers_health_checks(east, machine):
    for scheme, port in (("https", "https"), ("http", "http")):
        url = f"{scheme}://{east.address}:{east.node_port(port)}/healthz"
        assert "200" in machine("curl", "-sIk", url).stdout.splitlines()[0]


def test_contexts_go_straight_to_an_annotated_endpoint(east, endpoint):
    said = east.admin.loft("use", "cluster", NAME).stderr
    assert f"[info] Using direct cluster endpoint at {endpoint}\n" in said
    assert f"Successfully updated kube context to use cluster {NAME}" in said
    cluster = server_of(east.admin, f"loft_{NAME}")
    assert cluster["server"] == f"{endpoint}/kubernetes/cluster"
    assert cluster["certificate-authority-data"] == east.annotations()[AUTHORITY]
    assert "insecure-skip-tls-verify" not in cluster
    told = east.admin.kubectl("get", "ns", "-v", "6").stderr
    assert f'url="{endpoint}/kubernetes/cluster/api/v1/namespaces?limit=500" status="200 OK"' in told


def test_the_documents_cluster_manifest_turns_it_on(east, endpoint):
    """`spec.config: {}` says nothing about how to connect: a cluster that is connected stays as it is."""
    host = endpoint.removeprefix("https://")
    east.annotate()
    manifest = {
        "apiVersion": "management.loft.sh/v1",
        "kind": "Cluster",
        "metadata": {"name": NAME, "annotations": {ENDPOINT: host}},
        "spec": {"config": {}},
    }
    management = ("--context", "loft-management")
    east.admin.kubectl(*management, "apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert f"Using direct cluster endpoint at {endpoint}" in east.admin.loft("use", "cluster", NAME).stderr
    status = east.admin.get(*management, "cluster", NAME)["status"]
    assert (status["phase"], status["online"]) == ("Initialized", True)


def test_the_direct_endpoint_can_be_refused(east, endpoint, platform):
    said = east.admin.loft("use", "cluster", NAME, "--disable-direct-cluster-endpoint").stderr
    assert "Using direct" not in said
    assert server_of(east.admin, f"loft_{NAME}")["server"].startswith(platform.url)
    assert "default" in east.admin.kubectl("get", "ns").stdout


def test_the_direct_endpoint_takes_no_access_key_of_nobody(east, endpoint, machine):
    url = f"{endpoint}/kubernetes/cluster/api/v1/namespaces"
    for header in (
        "Authorization: Bearer wrong",
        "X-Remote-User: loft:user:admin",
        "Impersonate-User: loft:user:admin",
    ):
        assert machine("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", header, url).stdout == "401"


@pytest.fixture(scope="module")
def far(east, endpoint):
    """A virtual cluster in the second region, used through its direct endpoint."""
    said = east.admin.loft("create", "vcluster", "far", "--cluster", NAME).stderr
    assert f"Using direct cluster endpoint at {endpoint}" in said
    context = east.admin.kubectl("config", "current-context").stdout.strip()
    assert server_of(east.admin, context)["server"].startswith(f"{endpoint}/kubernetes/virtualcluster/vcluster-far-")
    work = Workday(east.admin, context, "another region", 18091)
    work.deploy()
    return work


def test_a_workday_in_another_region(far, tmp_path):
    far.reaches_a_service_by_name()
    far.follows_logs()
    far.works_inside_a_container()
    far.attaches()
    far.copies_files(tmp_path)
    far.forwards_a_port()
    far.keeps_data()
    far.installs_a_chart()


def test_an_endpoint_that_does_not_answer_is_told_and_not_used(east, endpoint, platform):
    (port,) = free_ports(1)
    east.annotate(**{ENDPOINT: f"localhost:{port}"})
    try:
        said = east.admin.loft("use", "cluster", NAME).stderr
        assert f"Direct cluster endpoint at https://localhost:{port} cannot be used (Connection refused)" in said
        assert server_of(east.admin, f"loft_{NAME}")["server"].startswith(platform.url)
    finally:
        east.annotate(**{ENDPOINT: endpoint.removeprefix("https://")})


@pytest.fixture(scope="module")
def own_ingress(east, machine, tmp_path_factory):
    """An ingress in front of the agent's Service, port 80, with a certificate of a private authority."""
    authority = trustme.CA()
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("ingress")
    with ingress.running(folder, machine, port, authority, (east.address, east.node_port("http"))) as url:
        yield url, authority.cert_pem.bytes(), folder


@pytest.mark.parametrize("variant", ["trusted", "private authority", "insecure"])
def test_an_ingress_in_front_of_the_agent(east, far, own_ingress, endpoint, variant):
    url, ca, folder = own_ingress
    data = base64.b64encode(ca).decode()
    person = east.admin
    if variant == "trusted":
        # As on a machine whose store of trusted authorities has it beside the instance's own.
        bundle = folder / "trusted.pem"
        bundle.write_bytes(ca)
        person = person.with_environment(SSL_CERT_FILE=str(bundle))
    more = {"trusted": {}, "private authority": {AUTHORITY: data}, "insecure": {INSECURE: "true"}}[variant]
    east.annotate(**{ENDPOINT: url}, **more)
    try:
        said = person.loft("use", "vcluster", "far", "--cluster", NAME).stderr
        assert f"[info] Using direct cluster endpoint at {url}\n" in said
        cluster = server_of(person, far.context)
        assert cluster.get("insecure-skip-tls-verify", False) is (variant == "insecure")
        assert cluster.get("certificate-authority-data") == (data if variant == "private authority" else None)
        work = Workday(person, far.context, far.where, 18092)
        work.reaches_a_service_by_name()
        work.works_inside_a_container()
        work.forwards_a_port()
    finally:
        east.annotate(**{ENDPOINT: endpoint.removeprefix("https://")})


def test_work_goes_on_while_the_centre_is_away(east, far, endpoint, machine, tmp_path):
    admin = east.admin
    admin.loft("use", "vcluster", "far", "--cluster", NAME)
    admin.loft("create", "space", "kept", "--cluster", NAME)
    admin.loft("use", "cluster", NAME)
    machine.loft("stop", "--name", "loft-cluster", timeout=180)
    try:
        assert "default" in admin.kubectl("--context", f"loft_{NAME}", "get", "ns").stdout
        space = Workday(admin, f"loft_kept_{NAME}", "a space", 18093)
        space.deploy()
        space.reaches_a_service_by_name()
        far.reaches_a_service_by_name()
        far.follows_logs()
        far.works_inside_a_container()
        far.copies_files(tmp_path)
        far.forwards_a_port()
        far.installs_a_chart("away")
        refused = admin.loft("list", "spaces", check=False)
        assert refused.returncode == 8
        assert "cannot be reached" in refused.stderr
    finally:
        machine.loft("start", timeout=240)
    assert "kept" in admin.loft("list", "spaces", "--cluster", NAME).stdout
    wait_for(lambda: admin.kubectl("--context", f"loft_{NAME}", "get", "ns", check=False).returncode == 0)


def test_it_is_online_again_after_the_outage(east):
    def is_online():
        return east.admin.get("--context", "loft-management", "cluster", NAME)["status"].get("online")

    assert wait_for(is_online)
    east.admin.loft("use", "cluster", NAME, "--disable-direct-cluster-endpoint")
    assert "kept" in east.admin.kubectl("get", "ns").stdout
    east.admin.loft("delete", "space", "kept", "--cluster", NAME)
