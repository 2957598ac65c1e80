"""What a centre makes once and keeps in Secrets of its namespace: its authority and the key of endpoint tokens."""

from __future__ import annotations

from datetime import datetime

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loft.kube.client import Client
from loft.pki.authority import KeyPair, new_authority
from loft.tenancy.secrets import ensure_secret

CA_SECRET = "loft-ca"
TOKEN_KEY_SECRET = "loft-token-key"


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The centre's long-lived keys."""

    ca: KeyPair
    """Signs the certificates of the centre and of agents."""
    token_private: bytes
    """PEM, EC P-256; signs tokens for direct endpoints."""
    token_public: bytes

    def __repr__(self) -> str:
        return "Keys()"


async def centre_keys(client: Client, namespace: str, now: datetime) -> Keys:
    """Return the keys, made now where there are none; of several replicas that start at once, one makes them.

    Raises: ApiError; ValueError when a Secret is there but incomplete (a new authority would lock every agent out).
    """

    def authority() -> dict[str, bytes]:
        pair = new_authority("loft", now)
        return {"ca.crt": pair.cert, "ca.key": pair.key}

    ca = await ensure_secret(client, (namespace, CA_SECRET), authority, needs=("ca.crt", "ca.key"))
    token = await ensure_secret(client, (namespace, TOKEN_KEY_SECRET), _token_key, needs=("private.pem", "public.pem"))
    return Keys(
        ca=KeyPair(cert=ca["ca.crt"], key=ca["ca.key"]),
        token_private=token["private.pem"],
        token_public=token["public.pem"],
    )


def _token_key() -> dict[str, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"private.pem": private, "public.pem": public}
