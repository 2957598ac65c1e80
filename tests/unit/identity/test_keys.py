"""Keys and passwords."""

import pytest

from loft.identity.keys import KEY_BYTES, is_well_formed, key_hash, new_key
from loft.identity.passwords import _NOBODY, hash_password, needs_rehash, verify_password


def test_a_key_has_64_url_safe_characters():
    key = new_key(bytes(range(KEY_BYTES)))
    assert len(key) == 64
    assert is_well_formed(key)
    assert set(key) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="48 random bytes"):
        new_key(b"short")


def test_the_hash_is_sha256_in_hex():
    assert key_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "bearer", ["", "a b", "a\n", "é", "a,b", "=", "a" * 8193, "a\x00", "Bearer a"], ids=lambda text: repr(text[:10])
)
def test_what_is_no_bearer_token_is_not_looked_up(bearer):
    assert not is_well_formed(bearer)


def test_a_password_fits_its_own_hash_only():
    stored = hash_password("correct horse", b"0123456789abcdef")
    assert stored.startswith("$argon2id$")
    assert verify_password(stored, "correct horse")
    assert not verify_password(stored, "correct horsf")
    assert not needs_rehash(stored)


@pytest.mark.parametrize(
    "stored",
    [None, "", "correct horse", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAA", "$argon2id$broken", _NOBODY],
    ids=repr,
)
@pytest.mark.parametrize("password", ["correct horse", "", "x" * 2000])
def test_no_password_fits_what_is_no_hash(stored, password):
    assert not verify_password(stored, password)


@pytest.mark.parametrize("password", ["", "x" * 2000])
def test_impossible_passwords_are_not_hashed(password):
    with pytest.raises(ValueError, match="1 to 1024"):
        hash_password(password, b"0123456789abcdef")
