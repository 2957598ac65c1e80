"""The key that signs ServiceAccount tokens of a Kubernetes control plane."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def new_signing_key() -> tuple[bytes, bytes]:
    """Return (private key, public key) as PEM; RSA 2048, so that tokens are RS256, which all verifiers know.

    The private one is for `--service-account-signing-key-file` and `--service-account-private-key-file`,
    the public one for `--service-account-key-file`.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def key_name(public: bytes) -> str:
    """Return a short name of a public key (PEM), which no other has."""
    return hashlib.sha256(public.strip()).hexdigest()[:16]
