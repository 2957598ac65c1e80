"""Forged HTTP/2 requests: frames written by hand, since no client library would send them (RFC 9113, RFC 7541)."""

import contextlib
import struct
import time

import pytest

from integration.gateway.bed import KEY

pytestmark = pytest.mark.integration

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, DATA, SETTINGS = 1, 0, 4
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def length(size):
    """An HPACK integer with a 7-bit prefix."""
    if size < 127:
        return bytes([size])
    rest, encoded = size - 127, bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    return bytes([*encoded, rest])


def field(name, value):
    """A literal header field, neither indexed nor compressed."""
    return b"\x00" + length(len(name)) + name + length(len(value)) + value


def block(side, mark, *more, method=b"GET", authority=b"localhost"):
    path = f"{side.cluster}/api/v1/pods?{mark}".encode()
    fields = [(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", path)]
    return b"".join(field(*pair) for pair in [*fields, (b"authorization", f"Bearer {KEY}".encode()), *more])


def exchange(side, *frames):
    """Send the frames on a new connection and read until the gateway is silent or closes."""
    with side.connect(alpn="h2") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + b"".join(frames))
        connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
    time.sleep(0.1)


def request(side, mark, *more, **options):
    exchange(side, frame(HEADERS, END_STREAM | END_HEADERS, 1, block(side, mark, *more, **options)))
    return side.reached(mark)


def test_a_plain_request_passes(side):
    (seen,) = request(side, side.marked())
    assert seen.all("impersonate-user") == ["loft:user:ann"]


@pytest.mark.parametrize(
    "more",
    [
        (b"impersonate-user", b"system:masters"),
        (b"impersonate-group", b"system:masters"),
        (b"Impersonate-User", b"system:masters"),
        (b"x-test", b"a\r\nimpersonate-user: system:masters"),
        (b"x-test", b"a\x00b"),
        (b"impersonate_user", b"system:masters"),
        (b"x-test: a\r\nimpersonate-user", b"system:masters"),
        (b":path", b"/kubernetes/cluster/secret"),
        (b"connection", b"upgrade"),
        (b"authorization", b"Bearer other"),
    ],
    ids=[
        "user", "group", "upper case", "CRLF", "NUL", "underscore", "CRLF in the name", "two paths", "connection",
        "two keys",
    ],
)  # fmt: skip
def test_cases_1_4_6_forged_fields_reach_nothing(side, more):
    assert request(side, side.marked(), more) == []
    assert side.send().code == 200


@pytest.mark.parametrize("name", [b"x-remote-user", b"x-loft-user", b"x-forwarded-client-cert", b"x-loft-upstream"])
def test_case_3_identity_fields_are_stripped(side, name):
    (seen,) = request(side, side.marked(), (name, b"system:masters"))
    assert "system:masters" not in str(seen.headers)
    assert seen.all("impersonate-user") == ["loft:user:ann"]


def test_case_7_trailers_do_not_become_headers(side):
    mark = side.marked()
    trailers = field(b"impersonate-user", b"system:masters") + field(b"x-remote-user", b"system:masters")
    exchange(
        side,
        frame(HEADERS, END_HEADERS, 1, block(side, mark, method=b"POST")),
        frame(DATA, 0, 1, b"hello"),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, trailers),
    )
    (seen,) = side.reached(mark)
    assert seen.all("impersonate-user") == ["loft:user:ann"]
    assert "system:masters" not in str(seen.headers)
    assert not any(b"trailer:" in body for body in side.bed.upstream.bodies)


@pytest.mark.parametrize("host", [b"evil", b"localhost, evil"])
def test_case_10_a_host_that_differs_from_the_authority_does_not_count(side, host):
    for seen in request(side, side.marked(), (b"host", host)):
        assert seen.all("host") == ["localhost"]


def test_case_6_extended_connect_is_not_spoken(side):
    mark = side.marked()
    assert request(side, mark, (b":protocol", b"SPDY/3.1"), method=b"CONNECT") == []
    assert side.send().code == 200
