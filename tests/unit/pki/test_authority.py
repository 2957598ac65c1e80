"""Certificates: who they name, who accepts them, when they are due."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st

from loft.pki import authority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _verify_server(ca: bytes, cert: bytes, name: str, at: datetime) -> None:
    store = Store([x509.load_pem_x509_certificate(ca)])
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(name))
    verifier.verify(x509.load_pem_x509_certificate(cert), [])


def test_server_certificate_verifies_against_its_authority_only() -> None:
    ca, other = authority.new_authority("one", NOW), authority.new_authority("one", NOW)
    pair = authority.issue(ca, common_name="api", dns=["api.test"], ips=["10.0.0.1"], usage="server", now=NOW)
    _verify_server(ca.cert, pair.cert, "api.test", NOW)
    for wrong_ca, name, at in [
        (other.cert, "api.test", NOW),
        (ca.cert, "other.test", NOW),
        (ca.cert, "api.test", NOW + timedelta(days=366)),
    ]:
        with pytest.raises(VerificationError):
            _verify_server(wrong_ca, pair.cert, name, at)
    assert authority.issued_by(pair.cert, ca.cert)
    assert not authority.issued_by(pair.cert, other.cert)


def test_openssl_agrees_on_chain_purpose_and_subject(tmp_path: Path) -> None:
    ca = authority.new_authority("one", NOW)
    pair = authority.issue(
        ca, common_name="admin", organizations=["ops", "dev"], uris=["spiffe://a/b"], usage="client", now=NOW
    )
    (tmp_path / "ca").write_bytes(ca.cert)
    (tmp_path / "cert").write_bytes(pair.cert)
    verify = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-CAfile", "ca"]

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run(*verify, "-purpose", "sslclient", "cert").returncode == 0
    assert run(*verify, "-purpose", "sslserver", "cert").returncode != 0
    shown = run("openssl", "x509", "-in", "cert", "-noout", "-subject", "-ext", "subjectAltName").stdout
    assert "O = ops, O = dev, CN = admin" in shown
    assert "URI:spiffe://a/b" in shown


def test_key_belongs_to_certificate() -> None:
    ca = authority.new_authority("one", NOW)
    pair = authority.issue(ca, common_name="x", usage="client", now=NOW)
    key = serialization.load_pem_private_key(pair.key, password=None)
    assert key.public_key() == x509.load_pem_x509_certificate(pair.cert).public_key()


def test_server_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="DNS name or an IP"):
        authority.issue(authority.new_authority("one", NOW), common_name="x", usage="both", now=NOW)


def test_expired_authority_issues_nothing() -> None:
    ca = authority.new_authority("one", NOW, days=1)
    with pytest.raises(ValueError, match="expired"):
        authority.issue(ca, common_name="x", usage="client", now=NOW + timedelta(days=2))


@pytest.mark.parametrize(
    "leaf",
    [
        authority.Leaf(common_name="a", usage="client"),
        authority.Leaf(common_name="a", organizations=("x", "y"), uris=("spiffe://a/b",), usage="client"),
        authority.Leaf(common_name="a", dns=("b", "c.d"), ips=("10.0.0.1", "::1"), usage="both"),
    ],
)
def test_what_a_certificate_says_can_be_read_back(leaf: authority.Leaf) -> None:
    facts = {name: getattr(leaf, name) for name in leaf.__struct_fields__}
    cert = authority.issue(authority.new_authority("one", NOW), now=NOW, **facts).cert
    assert authority.leaf_of(cert) == leaf


def test_an_authority_is_no_leaf() -> None:
    with pytest.raises(ValueError, match="used for"):
        authority.leaf_of(authority.new_authority("one", NOW).cert)


def test_renewed_authority_and_its_old_certificates_go_on_together() -> None:
    old = authority.new_authority("one", NOW, days=90)
    later = NOW + timedelta(days=70)
    assert authority.due(old.cert, later)
    new = authority.renew_authority(old, later, days=90)
    assert not authority.due(new.cert, later)
    before = authority.issue(old, common_name="x", dns=["a.test"], usage="server", now=NOW)
    after = authority.issue(new, common_name="x", dns=["a.test"], usage="server", now=later)
    for ca in (old, new):
        for pair in (before, after):
            _verify_server(ca.cert, pair.cert, "a.test", later)


def _request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> x509.CertificateSigningRequest:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())


def test_request_gets_the_subject_the_caller_decided() -> None:
    ca = authority.new_authority("one", NOW)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = _request(key).public_bytes(serialization.Encoding.PEM)
    cert = authority.sign_request(ca, pem, authority.Leaf(common_name="guest", usage="client"), now=NOW)
    loaded = x509.load_pem_x509_certificate(cert)
    assert loaded.subject.rfc4514_string() == "CN=guest"
    assert loaded.public_key() == key.public_key()


def test_forged_or_foreign_requests_are_refused() -> None:
    ca = authority.new_authority("one", NOW)
    leaf = authority.Leaf(common_name="guest", usage="client")
    der = bytearray(_request(ec.generate_private_key(ec.SECP256R1())).public_bytes(serialization.Encoding.DER))
    at = bytes(der).index(b"root")
    der[at : at + 4] = b"boot"
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(ValueError, match="signature"):
        authority.sign_request(ca, forged, leaf, now=NOW)
    foreign = _request(rsa.generate_private_key(65537, 2048)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(ValueError, match="P-256"):
        authority.sign_request(ca, foreign, leaf, now=NOW)


CA = authority.new_authority("law", NOW, days=3650)


@settings(max_examples=50, deadline=None)
@given(hours=st.integers(1, 24 * 5000), elapsed=st.floats(0, 1.5))
def test_due_exactly_in_the_last_third(hours: int, elapsed: float) -> None:
    cert = authority.issue(CA, common_name="x", usage="client", now=NOW, hours=hours).cert
    begin, end = NOW - authority.CLOCK_SKEW, authority.expires(cert)
    assert end <= authority.expires(CA.cert)
    now = begin + (end - begin) * elapsed
    remaining = (end - now) / (end - begin)
    if abs(remaining - 1 / 3) > 1e-6:
        assert authority.due(cert, now) == (remaining < 1 / 3)


def test_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    (tmp_path / "cert").write_bytes(CA.cert)
    argv = ["openssl", "x509", "-in", str(tmp_path / "cert"), "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert shown.strip().split("=")[1].replace(":", "").lower() == authority.fingerprint(CA.cert)
