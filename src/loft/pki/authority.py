"""Certificate authorities and the certificates they issue.

Every TLS connection inside the platform is authenticated by a certificate made here: the embedded
Kubernetes, the control planes of virtual clusters, and the hop from the central instance to an agent. Keys
are EC P-256, which every component in use understands and which cost little to make. Time is an argument,
so that renewal can be tested.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Usage = Literal["server", "client", "both"]

# A certificate begins to be valid a little earlier than it is made, for peers whose clock is behind.
CLOCK_SKEW = timedelta(minutes=5)

_SUBJECT = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
_EXTENDED_USAGE: dict[Usage, list[x509.ObjectIdentifier]] = {
    "server": [ExtendedKeyUsageOID.SERVER_AUTH],
    "client": [ExtendedKeyUsageOID.CLIENT_AUTH],
    "both": [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
}


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate that is not an authority says about its holder."""

    common_name: str
    """For Kubernetes clients: the user name."""
    organizations: Sequence[str] = ()
    """For Kubernetes clients: the groups."""
    dns: Sequence[str] = ()
    ips: Sequence[str] = ()
    uris: Sequence[str] = ()
    usage: Usage


def new_authority(name: str, now: datetime, *, days: float = 3650) -> KeyPair:
    """Make a self-signed authority that can sign end certificates only (path length 0)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return _self_signed(ec.generate_private_key(ec.SECP256R1()), subject, now, days)


def renew_authority(ca: KeyPair, now: datetime, *, days: int = 3650) -> KeyPair:
    """Return the authority with a new lifetime; name and key stay.

    So certificates issued before stay good for whoever gets the new one, and the other way round as long as
    the old one lasts: the two can be exchanged one party at a time.
    """
    subject = x509.load_pem_x509_certificate(ca.cert).subject
    return _self_signed(_signer(ca), subject, now, days)


def _self_signed(key: ec.EllipticCurvePrivateKey, subject: x509.Name, now: datetime, days: float) -> KeyPair:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(  # noqa: PLR0913 - a certificate has that many independent facts; all of them are given by name
    ca: KeyPair,
    *,
    common_name: str,
    organizations: Sequence[str] = (),
    dns: Sequence[str] = (),
    ips: Sequence[str] = (),
    uris: Sequence[str] = (),
    usage: Usage,
    now: datetime,
    days: int = 365,
    hours: float = 0,
) -> KeyPair:
    """Make a new key and a certificate for it.

    `hours`, when given, replaces `days`. The certificate never outlives its authority.
    Raises: ValueError for a server certificate without a name or address: no modern client would accept it.
    """
    leaf = Leaf(
        common_name=common_name,
        organizations=organizations,
        dns=dns,
        ips=ips,
        uris=uris,
        usage=usage,
    )
    key = ec.generate_private_key(ec.SECP256R1())
    lifetime = timedelta(hours=hours) if hours else timedelta(days=days)
    return _pair(_sign(ca, leaf, key.public_key(), now, lifetime), key)


def sign_request(ca: KeyPair, csr_pem: bytes, leaf: Leaf, *, now: datetime, days: int = 365) -> bytes:
    """Sign the public key of a certificate request; return the certificate as PEM.

    Only the key is taken from the request. Who its holder is says `leaf`, decided by the caller: what a
    request asks for itself is never copied.
    Raises: ValueError when the request cannot be read, its signature is wrong, or its key is not EC P-256.
    """
    request = x509.load_pem_x509_csr(csr_pem)
    if not request.is_signature_valid:
        raise ValueError("the signature of the certificate request is wrong")
    public_key = request.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != "secp256r1":
        raise ValueError("the key of the certificate request is not EC P-256")
    return _sign(ca, leaf, public_key, now, timedelta(days=days)).public_bytes(serialization.Encoding.PEM)


def expires(cert: bytes) -> datetime:
    """Return the end of validity (UTC) of the first certificate in the PEM text."""
    return x509.load_pem_x509_certificate(cert).not_valid_after_utc


def due(cert: bytes, now: datetime) -> bool:
    """Tell whether the certificate should be renewed: it is in the last third of its lifetime, or over."""
    loaded = x509.load_pem_x509_certificate(cert)
    end = loaded.not_valid_after_utc
    # Its begin lies in the past, for clocks that go wrong: that is no part of the lifetime.
    lifetime = end - loaded.not_valid_before_utc - CLOCK_SKEW
    return now >= end - max(lifetime, timedelta(0)) / 3


def fingerprint(cert: bytes) -> str:
    """Return the SHA-256 of the DER form in lower-case hex, as openssl prints it but without colons."""
    return x509.load_pem_x509_certificate(cert).fingerprint(hashes.SHA256()).hex()


def leaf_of(cert: bytes) -> Leaf:
    """Return what a certificate says about its holder, as `issue` was told; compare it with what is wanted.

    Raises: ValueError for a certificate without the extensions that `issue` always sets.
    """
    loaded = x509.load_pem_x509_certificate(cert)
    try:
        purposes = list(loaded.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound as error:
        raise ValueError("the certificate does not say what it may be used for") from error
    usages: list[Usage] = [usage for usage, wanted in _EXTENDED_USAGE.items() if wanted == purposes]
    if not usages:
        raise ValueError("the certificate may be used for something else")
    try:
        names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    subject = {oid: [str(item.value) for item in loaded.subject.get_attributes_for_oid(oid)] for oid in _SUBJECT}
    return Leaf(
        common_name="".join(subject[NameOID.COMMON_NAME]),
        organizations=tuple(subject[NameOID.ORGANIZATION_NAME]),
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        ips=tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        usage=usages[0],
    )


def issued_by(cert: bytes, ca: bytes) -> bool:
    """Tell whether `ca` signed `cert` (signature and names; neither dates nor usage are looked at)."""
    try:
        x509.load_pem_x509_certificate(cert).verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    except (InvalidSignature, ValueError, TypeError):  # which one depends on the kind of key
        return False
    return True


def _sign(
    ca: KeyPair, leaf: Leaf, public_key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    authority = x509.load_pem_x509_certificate(ca.cert)
    names = _alternative_names(leaf)
    if leaf.usage != "client" and not names:
        raise ValueError(f"certificate for {leaf.common_name}: a server needs a DNS name or an IP address")
    if now >= authority.not_valid_after_utc:
        raise ValueError(f"the authority {_name_of(authority)} has expired; make a new one")
    issuer_identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(leaf))
        .issuer_name(authority.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - CLOCK_SKEW, authority.not_valid_before_utc))
        .not_valid_after(min(now.astimezone(UTC) + lifetime, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_EXTENDED_USAGE[leaf.usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier), critical=False
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(_signer(ca), hashes.SHA256())


def _signer(ca: KeyPair) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an EC key")
    return key


def _name_of(cert: x509.Certificate) -> str:
    return cert.subject.rfc4514_string()


def _subject(leaf: Leaf) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in leaf.organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, leaf.common_name)])


def _alternative_names(leaf: Leaf) -> list[x509.GeneralName]:
    return [
        *(x509.DNSName(name) for name in leaf.dns),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in leaf.ips),
        *(x509.UniformResourceIdentifier(uri) for uri in leaf.uris),
    ]


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        cert=cert.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
