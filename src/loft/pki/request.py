"""Certificate requests: a new key that never leaves the process that made it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def new_request(common_name: str, *, organizations: Sequence[str] = (), ips: Sequence[str] = ()) -> tuple[bytes, bytes]:
    """Return (private key, certificate request) as PEM; EC P-256.

    Who signs decides what the certificate says (loft.pki.authority.sign_request takes nothing but the key);
    Kubernetes' own signers take what the request says, or refuse it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    )
    if ips:
        names = [x509.IPAddress(ipaddress.ip_address(address)) for address in ips]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, request.public_bytes(serialization.Encoding.PEM)
