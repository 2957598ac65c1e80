"""Real controllers: Contour and cert-manager on the host serve what is made inside, and cert-manager runs inside."""

import base64
import os

import pytest
import yaml
from cryptography import x509

from e2e import controllers
from e2e.shell import wait_for
from e2e.virtual import VirtualCluster

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("LOFT_E2E_LONG"), reason="one of the long ones: make test-long"),
]
DOMAIN = "real-tenant.apps.example.com"
PAGE = "hello from a pod\n"

CLUSTER_ISSUERS = """
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: house}
spec: {selfSigned: {}}
"""

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME, annotations: {NOTES}}
spec:
  ingressClassName: contour
  rules:
    - host: HOST
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
  TLS
"""


def ingress(name, notes="", secret=""):
    """An Ingress for `name`.DOMAIN."""
    host = f"{name}.{DOMAIN}"
    tls = f"tls: [{{hosts: [{host}], secretName: {secret}}}]" if secret else ""
    text = INGRESS.replace("NAME", name).replace("HOST", host).replace("NOTES", notes).replace("TLS", tls)
    return text, host


@pytest.fixture(scope="module")
def envoy(machine):
    with controllers.contour(machine) as address:
        yield address


@pytest.fixture(scope="module")
def issuing(machine):
    with controllers.cert_manager(machine):
        controllers.apply_soon(machine.kubectl, CLUSTER_ISSUERS)
        yield


@pytest.fixture(scope="module")
def tenant(machine, tmp_path_factory, envoy, issuing):
    """A virtual cluster with a web server, for which hosts below DOMAIN are offered."""
    cluster = VirtualCluster(machine, "real-tenant", tmp_path_factory.mktemp("real"))
    cluster.remove()
    machine.kubectl("create", "namespace", cluster.namespace)
    try:
        values = {"ingressHosts[0]": "*.$(NAME).apps.example.com", "hostClasses.enabled": "true"}
        cluster.install(**values)
        cluster.deploy("web")
        yield cluster
    finally:
        cluster.remove()


def secret_of(cluster, name):
    found = cluster("get", "secret", name, "-o", "yaml", "--ignore-not-found").stdout
    return yaml.safe_load(found) if found else None


def issued_for(secret):
    """The DNS names of a Secret's certificate."""
    certificate = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def trusted(tmp_path, secret):
    """curl's words to trust nothing but the certificate of a Secret."""
    path = tmp_path / "authority.pem"
    path.write_bytes(base64.b64decode(secret["data"]["tls.crt"]))
    return ("--cacert", str(path))


def test_an_ingress_made_inside_is_served_by_the_hosts_controller(tenant, machine, envoy):
    body, host = ingress("plain")
    tenant("apply", "-f", "-", stdin=body)
    controllers.wait_for_answer(machine, envoy, host, PAGE)
    status = wait_for(lambda: tenant.get("ingress", "plain")["status"])
    assert "loadBalancer" in status
    refused, foreign = ingress("foreign")
    tenant("apply", "-f", "-", stdin=refused.replace(foreign, "shop.example.com"))
    wait_for(lambda: "is not offered" in tenant("events", "--for=ingress/foreign").stdout)
    assert controllers.answer(machine, envoy, "shop.example.com") == ""
    tenant("delete", "ingress", "plain", "foreign")
    wait_for(lambda: controllers.answer(machine, envoy, host) == "")


def test_the_tenants_own_certificate_is_served(tenant, machine, envoy, tmp_path):
    host = f"own.{DOMAIN}"
    pair = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt"))
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=own")
    machine("openssl", *new, "-addext", f"subjectAltName=DNS:{host}", *pair)
    tenant("create", "secret", "tls", "own", f"--key={tmp_path / 'key'}", f"--cert={tmp_path / 'crt'}")
    tenant("apply", "-f", "-", stdin=ingress("own", secret="own")[0])
    controllers.wait_for_answer(machine, envoy, host, PAGE, "--cacert", str(tmp_path / "crt"), port=443)


def test_a_certificate_by_annotation_is_issued_on_the_host_and_served(tenant, machine, envoy, tmp_path):
    body, host = ingress("shim", "cert-manager.io/cluster-issuer: house", "shim-tls")
    tenant("apply", "-f", "-", stdin=body)
    secret = wait_for(lambda: secret_of(tenant, "shim-tls"))
    assert issued_for(secret) == [host]
    assert secret["type"] == "kubernetes.io/tls"
    controllers.wait_for_answer(machine, envoy, host, PAGE, *trusted(tmp_path, secret), port=443)
