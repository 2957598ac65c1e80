"""The ServiceAccount signing key."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from loft.pki.serviceaccount import new_signing_key


def test_halves_belong_together_and_differ_each_time() -> None:
    private, public = new_signing_key()
    key = serialization.load_pem_private_key(private, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert serialization.load_pem_public_key(public) == key.public_key()
    assert new_signing_key()[0] != private
