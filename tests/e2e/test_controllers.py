"""Real controllers: Contour and cert-manager on the host serve what is made inside, and cert-manager runs inside."""

import base64
import os
import re
from pathlib import Path

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
DOCUMENT = Path(__file__).parents[2] / "docs" / "sync.md"
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
    """A virtual cluster with a web server, with the values of the documentation."""
    folder = tmp_path_factory.mktemp("real")
    cluster = VirtualCluster(machine, "real-tenant", folder)
    blocks = re.findall(r"```yaml\n(hostClasses.*?)```", DOCUMENT.read_text(), re.DOTALL)
    resources = [item for block in blocks for item in yaml.safe_load(block)["sync"]["customResources"]]
    values = folder / "values.yaml"
    text = yaml.safe_dump({"hostClasses": {"enabled": True}, "sync": {"customResources": resources}})
    values.write_text(text.replace("letsencrypt", "house").replace(r"apps\.example", r"real-tenant\.apps\.example"))
    cluster.files.append(values)
    cluster.remove()
    machine.kubectl("create", "namespace", cluster.namespace)
    try:
        cluster.install(**{"ingressHosts[0]": "*.$(NAME).apps.example.com"})
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
    name = f"cert-manager.io/common-name: shim.{DOMAIN}"
    body, host = ingress("shim", f"cert-manager.io/cluster-issuer: house, {name}", "shim-tls")
    tenant("apply", "-f", "-", stdin=body)
    secret = wait_for(lambda: secret_of(tenant, "shim-tls"))
    assert issued_for(secret) == [host]
    assert secret["type"] == "kubernetes.io/tls"
    controllers.wait_for_answer(machine, envoy, host, PAGE, *trusted(tmp_path, secret), port=443)
    assert wait_for(lambda: tenant.get("clusterissuers")["items"])[0]["metadata"]["name"] == "house"
    tenant("delete", "ingress", "shim")
    wait_for(lambda: secret_of(tenant, "shim-tls") is None)


CERTIFICATES = """
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: root}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: authority}
spec:
  isCA: true
  commonName: the tenant's authority
  secretName: authority
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  issuerRef: {name: root, kind: Issuer, group: cert-manager.io}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: tenant}
spec: {ca: {secretName: authority}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: site}
spec: {dnsNames: [site.DOMAIN], secretName: site-tls, issuerRef: {name: tenant, kind: Issuer}}
"""


def test_certificates_and_issuers_made_inside_are_worked_on_by_the_hosts_cert_manager(tenant, machine, envoy, tmp_path):
    controllers.apply_soon(tenant, CERTIFICATES.replace("DOMAIN", DOMAIN))
    tenant("wait", "certificate/authority", "certificate/site", "--for=condition=Ready", "--timeout=90s")
    body, host = ingress("site", secret="site-tls")
    tenant("apply", "-f", "-", stdin=body)
    authority, secret = (wait_for(lambda name=name: secret_of(tenant, name)) for name in ("authority", "site-tls"))
    assert issued_for(secret) == [host]
    controllers.wait_for_answer(machine, envoy, host, PAGE, *trusted(tmp_path, authority), port=443)
    body, host = ingress("signed", "cert-manager.io/issuer: tenant", "signed-tls")
    tenant("apply", "-f", "-", stdin=body)
    controllers.wait_for_answer(machine, envoy, host, PAGE, *trusted(tmp_path, authority), port=443)
    assert issued_for(wait_for(lambda: secret_of(tenant, "signed-tls"))) == [host]
    own = "{apiVersion: v1, kind: Secret, metadata: {name: mine}, stringData: {note: kept}}"
    tenant("apply", "-f", "-", stdin=own)
    other = CERTIFICATES.rpartition("---")[2].replace("site-tls", "mine").replace("site", "other")
    tenant("apply", "-f", "-", stdin=other.replace("DOMAIN", DOMAIN))
    wait_for(lambda: "already and your own" in tenant("events", "--for=certificate/other").stdout)
    assert base64.b64decode(secret_of(tenant, "mine")["data"]["note"]) == b"kept"
    tenant("delete", "ingress/site", "ingress/signed", "certificate/site", "certificate/other")
    wait_for(lambda: secret_of(tenant, "site-tls") is None)
    wait_for(lambda: gone_from_host(machine, tenant, "site"))


def gone_from_host(machine, cluster, start):
    items = machine.get("certificates,secrets", "-n", cluster.namespace)["items"]
    return not [item for item in items if item["metadata"]["name"].startswith(start)]


PROXY = """
apiVersion: projectcontour.io/v1
kind: HTTPProxy
metadata: {name: proxy}
spec:
  virtualhost: {fqdn: proxy.DOMAIN}
  routes: [{conditions: [{prefix: /}], services: [{name: web, port: 80}]}]
"""


def test_an_httpproxy_made_inside_is_served(tenant, machine, envoy):
    controllers.apply_soon(tenant, PROXY.replace("DOMAIN", DOMAIN))
    controllers.wait_for_answer(machine, envoy, f"proxy.{DOMAIN}", PAGE)
    wait_for(lambda: tenant.get("httpproxy", "proxy").get("status", {}).get("currentStatus") == "valid")
    tenant(
        "patch", "httpproxy", "proxy", "--type=merge", "-p", '{"spec": {"virtualhost": {"fqdn": "shop.example.com"}}}'
    )
    wait_for(lambda: "spec.virtualhost.fqdn" in tenant("events", "--for=httpproxy/proxy").stdout)
    assert controllers.answer(machine, envoy, "shop.example.com") == ""
    tenant("delete", "httpproxy", "proxy")
    wait_for(lambda: controllers.answer(machine, envoy, f"proxy.{DOMAIN}") == "")


def test_cert_manager_runs_inside_with_its_webhooks_and_definitions(machine, tmp_path):
    folder = controllers.prepare(machine, "cert-manager")
    cluster = VirtualCluster(machine, "real-inside", tmp_path)
    cluster.remove()
    machine.kubectl("create", "namespace", cluster.namespace)
    try:
        cluster.install()

        def helm(*words, **options):
            return machine.helm("--kubeconfig", str(cluster.path), *words, **options)

        controllers.install_cert_manager(helm, folder)
        controllers.apply_soon(cluster, CERTIFICATES.replace("DOMAIN", DOMAIN))
        ready = ("--for=condition=Ready", "--timeout=120s")
        cluster("wait", "certificate/authority", "certificate/site", *ready, timeout=130)
        assert issued_for(secret_of(cluster, "site-tls")) == [f"site.{DOMAIN}"]
        # Its webhook, a pod of the tenant, is asked by the tenant's API server with the authority that was put there.
        wrong = CERTIFICATES.rpartition("---")[2].replace("DOMAIN", DOMAIN).replace("secretName: site-tls, ", "")
        refused = cluster("apply", "-f", "-", stdin=wrong.replace("site}", "wrong}"), check=False)
        assert "spec.secretName" in refused.stderr
        unusual = CERTIFICATES.partition("---")[0].replace("selfSigned: {}", "selfSigned: {}, ca: {secretName: a}")
        refused = cluster("apply", "-f", "-", stdin=unusual.replace("root", "two"), check=False)
        assert 'admission webhook "webhook.cert-manager.io" denied the request' in refused.stderr
        configured = cluster.get("validatingwebhookconfiguration", "cert-manager-webhook")
        assert all(hook["clientConfig"].get("caBundle") for hook in configured["webhooks"])
    finally:
        cluster.remove()
