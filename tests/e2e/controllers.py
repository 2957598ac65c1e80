"""Controllers of others, installed as their users install them, on the host or inside a virtual cluster."""

import contextlib
import tempfile
import time
from pathlib import Path

import yaml
from tools.controllers import images, programs

from e2e.shell import wait_for
from loft.embedded.layout import MAIN_CLUSTER, Layout, cache_root

CONTOUR = "projectcontour"
CERT_MANAGER = "cert-manager"
_UPSTREAM = {"ghcr.io/projectcontour/contour": images.CONTOUR, "docker.io/envoyproxy/envoy": images.ENVOY}
CLASS = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "contour"}}
CLASS |= {"spec": {"controller": "projectcontour.io/ingress-controller"}}


def prepare(machine, name):
    """Build a controller (once, minutes) and have its images in the cluster; return its module's folder."""
    layout = Layout(name=MAIN_CLUSTER, index=0, state_dir=machine.state, cache_dir=cache_root())
    images.ensure(name, layout, print)
    return programs.module(name, print)


def contour_manifests(folder):
    """Contour's example deployment with our images: one replica, and reached by its Service's address only."""
    found = [CLASS]
    for path in sorted((folder / "examples/contour").glob("*.yaml")):
        found += [item for item in yaml.safe_load_all(path.read_text()) if item]
    for item in found:
        spec = item.get("spec", {})
        if item["kind"] == "Service":
            spec.pop("externalTrafficPolicy", None)
            spec["type"] = "ClusterIP"
        if item["kind"] == "Deployment":
            spec["replicas"] = 1
        pod = spec.get("template", {}).get("spec", {})
        for container in [*pod.get("initContainers", ()), *pod.get("containers", ())]:
            container["image"] = _UPSTREAM[container["image"].rpartition(":")[0]]
            for port in container.get("ports", ()):
                port.pop("hostPort", None)
        if item["kind"] == "DaemonSet":
            pod["terminationGracePeriodSeconds"] = 1
    return yaml.safe_dump_all(found)


@contextlib.contextmanager
def contour(machine):
    """Contour and Envoy on the host; gives Envoy's address."""
    folder = prepare(machine, "contour")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(contour_manifests(folder))
        file.flush()
        remove = ("delete", "-f", file.name, "--ignore-not-found", "--timeout=120s")
        machine.kubectl(*remove, timeout=150)
        try:
            machine.kubectl("apply", "--server-side", "-f", file.name)
            for what in ("deployment/contour", "daemonset/envoy"):
                words = ("rollout", "status", what, "-n", CONTOUR, "--timeout=180s")
                machine.kubectl(*words, timeout=190)
            yield machine.get("service", "envoy", "-n", CONTOUR)["spec"]["clusterIP"]
        finally:
            machine.kubectl(*remove, timeout=150)


def install_cert_manager(helm, folder, **values):
    """Install cert-manager by its own chart. `helm` runs helm against the cluster that gets it."""
    words = ["upgrade", "--install", CERT_MANAGER, str(Path(folder) / "deploy/charts/cert-manager")]
    words += ["-n", CERT_MANAGER, "--create-namespace", "--wait", "--timeout=240s"]
    given = {
        "crds.enabled": "true",
        "crds.keep": "false",
        "global.leaderElection.namespace": CERT_MANAGER,
        "prometheus.enabled": "false",
        "enableCertificateOwnerRef": "true",
        "startupapicheck.enabled": "false",
    } | values
    for prefix, process in (("", "controller"), ("webhook.", "webhook"), ("cainjector.", "cainjector")):
        given |= {f"{prefix}image.repository": images.cert_manager(process), f"{prefix}image.tag": "v1"}
    for key, value in given.items():
        words += ["--set", f"{key}={value}"]
    helm(*words, timeout=260)


@contextlib.contextmanager
def cert_manager(machine):
    """cert-manager on the host, for all of its namespaces."""
    folder = prepare(machine, "cert-manager")
    _remove_cert_manager(machine)
    try:
        install_cert_manager(machine.helm, folder)
        yield
    finally:
        _remove_cert_manager(machine)


def _remove_cert_manager(machine):
    machine.helm("uninstall", CERT_MANAGER, "-n", CERT_MANAGER, "--ignore-not-found", timeout=180)
    crds = [name for name in machine.kubectl("get", "crd", "-o", "name").stdout.split() if "cert-manager.io" in name]
    if crds:
        machine.kubectl("delete", "--ignore-not-found", "--timeout=60s", *crds, timeout=90)
    remove = ("delete", "namespace", CERT_MANAGER, "--ignore-not-found", "--timeout=90s")
    machine.kubectl(*remove, timeout=100)


def apply_soon(cluster, body, timeout_s=60):
    """Apply when webhooks answer: their Services' rules follow the readiness of pods with a delay."""
    deadline = time.monotonic() + timeout_s
    while (done := cluster("apply", "-f", "-", stdin=body, check=False)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(1)


def answer(shell, address, host, *words, port=80):
    """What Envoy answers for a host: the body, "" while it has none."""
    scheme = "https" if port == 443 else "http"
    to = ("--resolve", f"{host}:{port}:{address}", f"{scheme}://{host}/")
    return shell("curl", "-s", "-f", "--max-time", "5", *words, *to, check=False).stdout


def wait_for_answer(shell, address, host, text, *words, port=80, timeout_s=60):
    """Wait until the host answers a text."""
    wait_for(lambda: answer(shell, address, host, *words, port=port) == text, timeout_s)
