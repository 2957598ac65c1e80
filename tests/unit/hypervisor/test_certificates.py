"""Keys and certificates of a virtual cluster: separate authorities, the right names, renewal in time."""

import datetime as dt

from cryptography import x509

from loft.hypervisor.certificates import (
    AUTHORITIES,
    CREDENTIAL_FILE,
    Place,
    client_pairs,
    component_files,
    is_leaf,
    missing_entries,
    new_authorities,
    next_renewal,
    node_serving_pair,
)
from loft.pki.authority import issued_by

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DATA = new_authorities("dev", NOW)
PLACE = Place(
    name="dev",
    namespace="team",
    service_ip="10.96.0.9",
    pod_name="dev-0",
    pod_ip="10.1.0.7",
    extra_names=("api.example.com", "192.0.2.4"),
    validity_hours=24,
)
FILES = component_files(DATA, PLACE, NOW)


def names_of(cert: bytes) -> set[str]:
    extension = x509.load_pem_x509_certificate(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def test_nothing_is_missing_from_new_authorities() -> None:
    assert missing_entries(DATA) == []
    assert missing_entries({key: value for key, value in DATA.items() if key != "etcd-ca.key"}) == ["etcd-ca.key"]


def test_each_certificate_comes_from_the_authority_of_its_purpose_only() -> None:
    purposes = {
        "kube-apiserver/server.crt": "ca",
        "kube-apiserver/kubelet-client.crt": "kubelet-client-ca",
        "kube-apiserver/front-proxy.crt": "front-proxy-ca",
        "kube-controller-manager/client.crt": "ca",
        "hypervisor/client.crt": "ca",
        "etcd/peer.crt": "etcd-ca",
    }
    for path, purpose in purposes.items():
        issuers = {name for name in AUTHORITIES if issued_by(FILES[path], DATA[f"{name}.crt"])}
        assert issuers == {purpose}, path


def test_the_api_server_is_valid_under_every_name_people_use() -> None:
    wanted = {"dev", "dev.team", "dev.team.svc", "dev.team.svc.cluster.local", "localhost", "api.example.com"}
    wanted |= {"10.96.0.9", "127.0.0.1", "10.1.0.7", "192.0.2.4", "kubernetes.default.svc"}
    assert wanted <= names_of(FILES["kube-apiserver/server.crt"])


def test_no_component_gets_an_authoritys_key() -> None:
    keys = {DATA[f"{name}.key"] for name in AUTHORITIES}
    assert not keys & set(FILES.values())


def test_nobody_is_system_masters() -> None:
    pairs = client_pairs(DATA, NOW, 24)
    for cert in [pairs.admin.cert, pairs.gateway.cert, *(v for k, v in FILES.items() if is_leaf(k))]:
        assert "system:masters" not in x509.load_pem_x509_certificate(cert).subject.rfc4514_string()


def test_a_virtual_node_is_valid_under_its_address() -> None:
    assert names_of(node_serving_pair(DATA, "10.201.0.1", NOW, 1).cert) == {"10.201.0.1"}


def test_files_are_due_in_the_last_third() -> None:
    assert not next_renewal(FILES, NOW + dt.timedelta(hours=15))
    assert next_renewal(FILES, NOW + dt.timedelta(hours=17))


def test_the_credential_says_when_to_read_it_again() -> None:
    assert b'"expirationTimestamp":"2026-01-01T20' in FILES[CREDENTIAL_FILE]
