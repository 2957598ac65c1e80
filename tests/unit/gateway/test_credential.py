"""One credential, or none, or a refusal."""

import base64

import pytest

from loft.gateway.credential import PROTOCOL_PREFIX, BadCredential, Credential, find_credential


def protocol(*entries):
    return ("sec-websocket-protocol", ", ".join(entries).encode())


def token(text):
    return PROTOCOL_PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def bearer(text):
    return ("authorization", text if isinstance(text, bytes) else text.encode())


GOOD = {
    "none": ([], Credential()),
    "bearer": ([bearer("Bearer abc")], Credential(bearer="abc")),
    "lower case": ([bearer("bearer abc=")], Credential(bearer="abc=")),
    "two spaces": ([bearer("Bearer  abc")], Credential(bearer="abc")),
    "subprotocol": ([protocol("v4.k8s.io", token("abc"))], Credential(bearer="abc", protocols="v4.k8s.io")),
    "in two headers": ([protocol(token("abc")), protocol("a", "b")], Credential(bearer="abc", protocols="a, b")),
    "other subprotocols": ([bearer("Bearer abc"), protocol("a", "b")], Credential(bearer="abc")),
}  # fmt: skip


@pytest.mark.parametrize("headers,want", GOOD.values(), ids=GOOD.keys())
def test_one_or_none(headers, want):
    assert find_credential(headers) == want


BAD = {
    "two headers": [bearer("Bearer abc"), bearer("Bearer abc")],
    "joined": [bearer("Bearer abc,Bearer def")],
    "Basic": [bearer("Basic YTpi")],
    "only a token": [bearer("abc")],
    "only the word": [bearer("Bearer")],
    "empty": [bearer("")],
    "two words": [bearer("Bearer abc def")],
    "not ASCII": [bearer(b"Bearer \xe9\xff")],
    "too long": [bearer("Bearer " + "a" * 9000)],
    "both": [bearer("Bearer abc"), protocol("a", token("abc"))],
    "two tokens": [protocol("a", token("abc"), token("def"))],
    "only a token among the subprotocols": [protocol(token("abc"))],
    "empty token": [protocol("a", PROTOCOL_PREFIX)],
    "not base64": [protocol("a", PROTOCOL_PREFIX + "a%b")],
    "not base64 length": [protocol("a", PROTOCOL_PREFIX + "abcde")],
    "binary token": [protocol("a", PROTOCOL_PREFIX + "_____w")],
    "token with a space": [protocol("a", token("a b"))],
}


@pytest.mark.parametrize("headers", BAD.values(), ids=BAD.keys())
def test_refused(headers):
    assert isinstance(find_credential(headers), BadCredential)
