"""Tokens for direct endpoints: only ours, only here, only now."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

from loft.identity.endpointtoken import EndpointToken, claimed, sign, verify
from loft.identity.subject import Refusal

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def pair():
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


PRIVATE, PUBLIC = pair()
TOKEN = EndpointToken(cluster="east", user="ann", key="ann-1", expires=NOW + timedelta(minutes=30))
CLAIMS = {
    "iss": "loft",
    "aud": "loft-cluster:east",
    "sub": "ann",
    "key": "ann-1",
    "exp": int(NOW.timestamp()) + 1800,
}


def forged(claims=CLAIMS, private=PRIVATE, **header):
    header = {"alg": "ES256", **header}
    registry = None
    return jwt.encode(header, claims, ECKey.import_key(private), algorithms=["ES256"], registry=registry)


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_what_is_signed_is_what_is_read():
    assert verify(sign(TOKEN, PRIVATE, NOW), PUBLIC, "east", NOW) == TOKEN


def without(name):
    return {key: value for key, value in CLAIMS.items() if key != name}


def hs256():
    text = f"{part({'alg': 'HS256'})}.{part(CLAIMS)}"
    mac = hmac.new(PUBLIC, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


WRONG = {
    "alg none": lambda: f"{part({'alg': 'none'})}.{part(CLAIMS)}.",
    "HS256 with the public key as secret": hs256,
    "another key": lambda: forged(private=pair()[0]),
    "its own key in the header": lambda: forged(
        private=(other := pair())[0], jwk=ECKey.import_key(other[1]).as_dict(private=False)
    ),
    "another cluster": lambda: forged({**CLAIMS, "aud": "loft-cluster:west"}),
    "audience is a prefix": lambda: forged({**CLAIMS, "aud": "loft-cluster:eas"}),
    "audience is a list": lambda: forged({**CLAIMS, "aud": ["loft-cluster:east", "loft-cluster:west"]}),
    "no audience": lambda: forged(without("aud")),
    "another issuer": lambda: forged({**CLAIMS, "iss": "loft2"}),
    "no end": lambda: forged(without("exp")),
    "end as text": lambda: forged({**CLAIMS, "exp": "9999999999"}),
    "end is infinite": lambda: forged({**CLAIMS, "exp": 1e400}),
    "over": lambda: forged({**CLAIMS, "exp": int(NOW.timestamp())}),
    "not valid yet": lambda: forged({**CLAIMS, "nbf": int(NOW.timestamp()) + 120}),
    "no access key": lambda: forged(without("key")),
    "no user": lambda: forged(without("sub")),
    "unknown crit": lambda: f"{part({'alg': 'ES256', 'crit': ['x'], 'x': 1})}.{forged().partition('.')[2]}",
    "changed claims": lambda: ".".join(
        [forged().split(".")[0], part({**CLAIMS, "sub": "bob"}), forged().split(".")[2]]
    ),
    "not a token": lambda: "k" * 64,
    "empty": lambda: "",
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
def test_refused(make):
    assert isinstance(verify(make(), PUBLIC, "east", NOW), Refusal)


def test_an_agent_without_a_name_accepts_none():
    assert isinstance(verify(forged({**CLAIMS, "aud": "loft-cluster:"}), PUBLIC, "", NOW), Refusal)


def test_a_token_ends_to_the_second():
    token = sign(TOKEN, PRIVATE, NOW)
    assert verify(token, PUBLIC, "east", TOKEN.expires - timedelta(seconds=1)) == TOKEN
    assert isinstance(verify(token, PUBLIC, "east", TOKEN.expires), Refusal)


@pytest.mark.parametrize(
    "change",
    [{"expires": NOW}, {"expires": NOW + timedelta(days=2)}, {"cluster": ""}, {"user": ""}, {"key": ""}],
    ids=str,
)
def test_what_is_not_signed(change):
    fields = {"cluster": "east", "user": "ann", "key": "ann-1", "expires": TOKEN.expires, **change}
    with pytest.raises(ValueError, match="endpoint token"):
        sign(EndpointToken(**fields), PRIVATE, NOW)


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "..", "a.!.c", "a.W10.c", "a.bnVsbA.c", "a.eyI.c"])
def test_what_is_no_jwt_claims_nothing(text):
    assert claimed(text) is None


def test_claims_are_read_without_a_key():
    token = claimed(forged())
    assert token is not None and token["sub"] == "ann"
