"""Upgrades and long answers: they keep their method, their bytes and their connection to themselves."""

import base64
import time

import pytest

from integration.gateway.bed import KEY, READ_ONLY_KEY, SLOW_S, manager_of, read_answer

pytestmark = pytest.mark.integration

EXEC = "/api/v1/namespaces/a/pods/p/exec"


def upgrade(side, protocol, *, method="POST", path=EXEC, key=KEY, more=(), early=b""):
    lines = [
        f"{method} {side.cluster}{path} HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        f"Upgrade: {protocol}",
    ]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, *more, "", ""]).encode() + early


def until(connection, ending):
    data = b""
    while not data.endswith(ending) and (more := connection.recv(65536)):
        data += more
    return data


@pytest.mark.parametrize("protocol", ["SPDY/3.1", "websocket"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_case_48_an_upgrade_keeps_its_method_and_carries_bytes(side, protocol, method):
    mark = side.marked()
    with side.connect() as connection:
        connection.sendall(upgrade(side, protocol, method=method, path=f"{EXEC}?command=sh&{mark}"))
        answer = read_answer(connection)
        assert answer.code == 101
        for number in range(3):
            connection.sendall(b"ping%d" % number)
            assert until(connection, b"ping%d" % number) == b"echo:ping%d" % number
    (seen,) = side.reached(mark)
    assert (seen.method, seen.path) == (method, f"{EXEC}?command=sh&{mark}")
    assert seen.all("upgrade") == [protocol]
    assert seen.all("impersonate-user") == ["loft:user:ann"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("protocol", ["SPDY/3.1", "websocket"])
def test_case_36_an_upgrade_counts_as_create(side, protocol, method):
    mark = side.marked()
    answer = side.raw(upgrade(side, protocol, method=method, path=f"{EXEC}?{mark}", key=READ_ONLY_KEY))
    assert answer.code == 403
    assert b"limited" in answer.body
    assert side.reached(mark) == []


@pytest.mark.parametrize("protocol", ["h2c", "foo", "tls/1.0", "websocket, SPDY/3.1"])
def test_case_49_other_protocols_are_not_spoken(side, protocol):
    mark = side.marked()
    more = ("HTTP2-Settings: AAMAAABkAAQAAP__",) if protocol == "h2c" else ()
    with side.connect() as connection:
        connection.sendall(upgrade(side, protocol, path=f"{EXEC}?{mark}", more=more))
        answer = read_answer(connection)
    assert answer.code != 101
    for seen in side.reached(mark):
        assert seen.all("upgrade") == []
        assert seen.all("http2-settings") == []


def test_case_46_early_bytes_after_a_refused_upgrade_are_nobodys_request(side):
    mark = side.marked()
    smuggled = f"GET /api/v1/secrets?{mark} HTTP/1.1\r\nHost: x\r\nImpersonate-User: system:masters\r\n\r\n".encode()
    with side.connect() as connection:
        connection.sendall(upgrade(side, "SPDY/3.1", path=f"/x/refuse?{mark}", early=smuggled))
        answer = read_answer(connection)
        assert answer.code == 403
        connection.settimeout(3)
        rest = b""
        while more := connection.recv(65536):  # times out when the gateway does not close
            rest += more
        assert b"HTTP/1.1 200" not in rest
    (seen,) = side.reached(mark)
    time.sleep(0.2)
    side.send()
    assert [other.line for other in side.bed.upstream.requests if other.connection == seen.connection] == [seen.line]


def test_case_46_each_upgrade_has_an_upstream_connection_of_its_own(side):
    mark = side.marked()
    for _ in range(3):
        side.raw(upgrade(side, "websocket", path=f"/x/refuse?{mark}"))
    connections = [seen.connection for seen in side.reached(mark)]
    assert len(connections) == len(set(connections)) == 3


def test_case_6_a_browser_shows_its_key_in_a_subprotocol(side):
    mark = side.marked()
    encoded = base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
    protocols = (
        f"Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}, v4.channel.k8s.io"
    )
    with side.connect() as connection:
        connection.sendall(upgrade(side, "websocket", method="GET", path=f"{EXEC}?{mark}", key="", more=(protocols,)))
        assert read_answer(connection).code == 101
    (seen,) = side.reached(mark)
    assert seen.all("sec-websocket-protocol") == ["v5.channel.k8s.io, v4.channel.k8s.io"]
    assert encoded not in str(seen.headers)
    assert seen.all("impersonate-user") == ["loft:user:ann"]


def test_streams_may_be_silent_and_other_requests_may_not(side):
    """With an idle time-out of one second instead of five minutes, to see it in time."""
    listener = side.running.people()
    manager_of(listener)["stream_idle_timeout"] = "1s"
    side.running.replace_people(listener)
    try:
        with side.connect() as connection:
            connection.sendall(upgrade(side, "SPDY/3.1"))
            assert read_answer(connection).code == 101
            time.sleep(SLOW_S)
            connection.sendall(b"still here")
            assert until(connection, b"here") == b"echo:still here"
        for path in ("/apis/x/v1/slow?watch=true", "/api/v1/namespaces/a/pods/p/log/slow?follow=true"):
            assert side.send(path=path).code == 200
        assert side.send(path="/apis/x/v1/slow").code in (408, 504)
    finally:
        side.running.replace_people(side.running.people())
