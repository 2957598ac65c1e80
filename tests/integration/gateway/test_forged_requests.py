"""Forged and twisted requests, sent as raw bytes to the centre and to the agent."""

import json
import re

import pytest

from integration.gateway.bed import KEY, MASTERS

pytestmark = pytest.mark.integration


def identity(seen):
    return seen.all("impersonate-user"), seen.all("impersonate-group")


ANN = (["loft:user:ann"], ["loft:user:ann", "loft:team:dev", "system:authenticated"])


def check_only_ours(side, mark):
    """Exactly one request, as Ann, with nothing of what the client forged."""
    (seen,) = side.reached(mark)
    assert identity(seen) == ANN
    assert seen.all("authorization") == ["Bearer impersonator-token"]
    assert not [
        name for name, _ in seen.headers if name.startswith(("x-remote", "x-loft", "x-envoy", "x-auth", "x-gw"))
    ]
    assert not seen.all("impersonate-uid")
    assert not [name for name, value in seen.headers if MASTERS.decode() in value]
    return seen


def test_a_plain_request_arrives_as_its_user(side):
    mark = side.marked()
    answer = side.send(path=f"/api/v1/pods?{mark}")
    assert answer.code == 200
    assert b"set-cookie" not in answer.head.lower()
    assert b"access-control" not in answer.head.lower()
    seen = check_only_ours(side, mark)
    assert seen.line == f"GET /api/v1/pods?{mark} HTTP/1.1"


@pytest.mark.parametrize("name", ["Impersonate-User", "IMPERSONATE-GROUP", "impersonate-uid", "iMPersonate-uSER"])
def test_case_1_impersonation_is_refused_by_name(side, name):
    mark = side.marked()
    answer = side.send(f"{name}: system:masters", path=f"/api/v1/pods?{mark}")
    assert answer.code == 403
    assert json.loads(answer.body)["kind"] == "Status"
    assert name.lower() in json.loads(answer.body)["message"].lower()
    assert side.reached(mark) == []


@pytest.mark.parametrize("name", ["Impersonate-Extra-x%2fy", "impersonate-extra-scopes", "Impersonate-Anything"])
def test_case_1_other_impersonation_headers_never_arrive(side, name):
    mark = side.marked()
    side.send(f"{name}: system:masters", path=f"/api/v1/pods?{mark}")
    for seen in side.reached(mark):
        assert identity(seen) == ANN
        assert not [header for header, _ in seen.headers if header.startswith("impersonate-extra")]


BEARER = f"Authorization: Bearer {KEY}"
PROTOCOL = "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.YWJj, x"

FORGED = [
    "X-Remote-User: system:masters",
    "X-Remote-Group: system:masters",
    "X-Remote-Extra-Scopes: system:masters",
    "X-Forwarded-Client-Cert: By=system:masters;URI=spiffe://loft/centre",
    "Forwarded: for=system:masters",
    "X-Forwarded-User: system:masters",
    "X-Forwarded-Groups: system:masters",
    "X-Forwarded-Email: system:masters",
    "X-Auth-Request-User: system:masters",
    "X-Auth-Request-Groups: system:masters",
    "x-loft-user: system:masters",
    "x-loft-groups: WyJzeXN0ZW06bWFzdGVycyJd",
    "X-Loft-Key: system:masters",
    "x-loft-upstream: apiserver",
    "X-Loft-Upstream: loft-xds",
    "x-loft-long-running: 1",
    "x-target-cluster: system:masters",
    "x-gw-user: system:masters",
    "X-Envoy-Upstream-Rq-Timeout-Ms: 1",
    "x-envoy-original-path: /system:masters",
    "Proxy-Authorization: Bearer system:masters",
]


@pytest.mark.parametrize("line", FORGED)
def test_case_3_identity_headers_are_stripped(side, line):
    mark = side.marked()
    assert side.send(line, path=f"/api/v1/pods?{mark}").code == 200
    seen = check_only_ours(side, mark)
    name = line.partition(":")[0].lower()
    assert not [value for value in seen.all(name) if value in line]


def test_case_3_forged_headers_do_not_replace_a_key(side):
    mark = side.marked()
    answer = side.send(*FORGED, path=f"/api/v1/pods?{mark}", key="")
    assert answer.code == 401
    assert side.reached(mark) == []


@pytest.mark.parametrize(
    "line",
    [
        b"Impersonate_User: system:masters",
        b"X_Remote_Group: system:masters",
        b"Impersonate-User : system:masters",
        b"X-Remote-User: a\x00b",
    ],
    ids=["underscore", "underscore 2", "space before the colon", "NUL"],
)
def test_case_4_malformed_header_names_are_refused(side, line):
    mark = side.marked()
    answer = side.send(line, path=f"/api/v1/pods?{mark}")
    assert answer.code in (400, 403)
    assert side.reached(mark) == []


@pytest.mark.parametrize("between", [b"\r\n ", b"\r\n\t", b"\r"], ids=["folded", "folded by a tab", "lone CR"])
def test_case_4_a_line_within_a_value_makes_no_header(side, between):
    mark = side.marked()
    side.send(b"X-Test: a" + between + b"Impersonate-User: system:masters", path=f"/api/v1/pods?{mark}")
    for seen in side.reached(mark):
        assert identity(seen) == ANN
        assert "\r" not in "".join(value for _, value in seen.headers)


@pytest.mark.parametrize(
    "lines,key",
    [
        ([BEARER, BEARER], ""),
        (["Authorization: Bearer nonsense"], KEY),
        ([f"Authorization: Bearer {KEY},Bearer nonsense"], ""),
        (["Authorization: Basic YW5uOnNlY3JldA=="], ""),
        ([f"Authorization: {KEY}"], ""),
        (["Authorization: Bearer"], ""),
        ([f"Authorization: Bearer {KEY[:-1]}"], ""),
        ([f"Authorization: Bearer {KEY}b"], ""),
        (["Authorization: Bearer " + "k" * 20000], ""),
        ([f"Cookie: token={KEY}"], ""),
        ([], ""),
        (["Upgrade: websocket", "Connection: Upgrade", PROTOCOL], KEY),
    ],
    ids=[
        "two", "two different", "joined", "Basic", "no scheme", "empty", "prefix", "longer", "20 kB", "cookie",
        "none", "header and subprotocol",
    ],
)  # fmt: skip
def test_case_6_exactly_one_bearer_credential(side, lines, key):
    mark = side.marked()
    answer = side.send(*lines, path=f"/api/v1/pods?{mark}", key=key)
    assert answer.code == 401
    assert json.loads(answer.body)["code"] == 401
    assert KEY.encode() not in answer.data
    assert side.reached(mark) == []


@pytest.mark.parametrize("parameter", ["access_token", "token", "bearer", "authorization"])
def test_case_6_a_token_in_the_query_is_no_credential(side, parameter):
    mark = side.marked()
    assert side.send(path=f"/api/v1/pods?{parameter}={KEY}&{mark}", key="").code == 401
    assert side.reached(mark) == []


def test_case_6_the_scheme_may_be_written_in_any_case(side):
    mark = side.marked()
    assert side.send(f"Authorization: bearer {KEY}", path=f"/api/v1/pods?{mark}", key="").code == 200
    check_only_ours(side, mark)


def test_case_7_trailers_do_not_become_headers(side):
    mark = side.marked()
    head = f"POST {side.cluster}/api/v1/pods?{mark} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    body = "Transfer-Encoding: chunked\r\nTrailer: Impersonate-User\r\n\r\n2\r\nhi\r\n0\r\n"
    body += "Impersonate-User: system:masters\r\n\r\n"
    assert side.raw((head + body).encode()).code == 200
    check_only_ours(side, mark)
    assert not any(b"trailer:" in got for got in side.bed.upstream.bodies)


def test_case_9_forwarded_headers_of_the_client_are_not_handed_on(side):
    mark = side.marked()
    lines = [f"X-Forwarded-{name}: 6.6.6.6" for name in ("For", "Proto", "Host", "Uri", "Prefix", "Port")]
    assert side.send(*lines, path=f"/api/v1/pods?{mark}").code == 200
    seen = check_only_ours(side, mark)
    assert not [value for _, value in seen.headers if "6.6.6.6" in value]


@pytest.mark.parametrize(
    "data",
    [
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nAuthorization: Bearer {key}\r\n\r\n",
        "GET {path} HTTP/1.1\r\nHost: localhost, evil\r\nAuthorization: Bearer {key}\r\n\r\n",
        "GET {path} HTTP/1.1\r\nHost: user@evil\r\nAuthorization: Bearer {key}\r\n\r\n",
        "GET {path} HTTP/1.1\r\nHost: \r\nAuthorization: Bearer {key}\r\n\r\n",
        "GET {path} HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\r\n",
        "GET http://evil{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n",
        "GET {path} HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n",
    ],
    ids=["two Hosts", "list", "userinfo", "empty", "none", "absolute form", "HTTP/1.0"],
)
def test_case_10_exactly_one_host(side, data):
    mark = side.marked()
    answer = side.raw(data.format(path=f"{side.cluster}/api/v1/pods?{mark}", key=KEY).encode())
    assert answer.code in (400, 404, 426)
    assert side.reached(mark) == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/../secret", "/api/./v1", "/..", "/api/%2e%2e/secret", "/api/%2E./x", "/api/..;x=1/secret",
        "/api/.;/x", "//api", "/api//v1", "/api%2fv1", "/api%5cv1", "/api\\v1", "/api%00", "/api%0d%0aX:1",
        "/api/%c0%ae%c0%ae/x", "/api/%ff", "/api/%zz", "/api#frag", "/api/%", "/api\xe9",
    ],
)  # fmt: skip
def test_case_11_paths_with_two_readings_are_refused(side, path):
    mark = side.marked()
    line = f"GET {side.cluster}{path}?{mark} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    assert side.raw(line.encode("latin-1")).code == 400
    assert side.reached(mark) == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/a/pods/b", "/api/v1/*/x", "/api/v1/a;x=1/b", "/api/v1/a%20b", "/api/v1/%41bc",
        "/api/v1/a:b", "/api/v1/...", "/api/v1/pods/", "/api/v1/~x", "/api/%25%32%65/x", "/api/v1/@x", "/",
    ],
)  # fmt: skip
def test_case_11_what_passes_is_forwarded_byte_for_byte(side, path):
    mark = side.marked()
    query = f"x=%2F..%2f&y=a+b&{mark}&z=//"
    assert side.send(path=f"{path}?{query}").code == 200
    assert check_only_ours(side, mark).path == f"{path}?{query}"


@pytest.mark.parametrize("prefix", ["", "/kubernetes", "/kubernetes/clusterx", "/healthz", "/kubernetes/cluster/.."])
def test_case_11_nothing_else_leads_to_an_api_server(side, prefix):
    mark = side.marked()
    data = f"GET {prefix}/api/v1/pods?{mark} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    assert side.raw(data.encode()).code in (400, 404)
    assert side.reached(mark) == []


@pytest.mark.parametrize("line", [b"Authorization: Bearer \xff\xfe", "Authorization: Bearer é".encode()])
def test_case_13_bytes_outside_ascii_are_no_key(side, line):
    mark = side.marked()
    assert side.send(line, path=f"/api/v1/pods?{mark}", key="").code in (400, 401)
    assert side.reached(mark) == []


def test_case_13_bytes_outside_ascii_in_other_headers_change_no_decision(side):
    mark = side.marked()
    side.send(b"X-Test: \xff\xfesystem:masters", b"User-Agent: \xe9\xff", path=f"/api/v1/pods?{mark}")
    for seen in side.reached(mark):
        assert identity(seen) == ANN
    assert side.send(b"Impersonate-User: \xff\xfe", path=f"/api/v1/pods?{mark}x").code in (400, 403)
    assert side.reached(mark + "x") == []


@pytest.mark.parametrize(
    "line", ["CONNECT localhost:443 HTTP/1.1", "CONNECT / HTTP/1.1", "CONNECT /kubernetes/cluster HTTP/1.1"]
)
def test_case_15_connect_is_refused_and_the_gateway_lives(side, line):
    data = f"{line}\r\nHost: localhost:443\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    assert side.raw(data.encode()).code in (400, 403, 404, 405)
    assert side.send().code == 200


@pytest.mark.parametrize("method", ["TRACE", "QUERY", "OPTIONS", "get", "PROPFIND", "GETX"])
def test_case_16_only_known_methods(side, method):
    mark = side.marked()
    assert side.send(method=method, path=f"/api/v1/pods?{mark}").code in (400, 405)
    assert side.reached(mark) == []


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_case_16_the_method_is_not_overridden(side, name):
    mark = side.marked()
    assert side.send(f"{name}: DELETE", path=f"/api/v1/pods?{mark}").code == 200
    seen = check_only_ours(side, mark)
    assert seen.method == "GET"
    assert not seen.all(name.lower())


@pytest.mark.parametrize("agent", ["kube-probe/1.36", "GoogleHC/1.0"])
def test_case_17_nobody_is_let_in_for_their_user_agent(side, agent):
    mark = side.marked()
    assert side.send(f"User-Agent: {agent}", path=f"/api/v1/pods?{mark}&x=/healthz", key="").code == 401
    assert side.reached(mark) == []


def test_health_has_the_headers_of_the_direct_endpoint(side):
    answer = side.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.code == 200
    for line in (
        b"access-control-allow-headers: *",
        b"access-control-allow-methods: POST, GET, OPTIONS, PUT, DELETE, PATCH",
        b"access-control-allow-origin: *",
        b"cache-control: no-cache, private",
        b"strict-transport-security: max-age=15724800; includeSubDomains",
    ):
        assert line in answer.head
    assert side.raw(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").code == 200


def test_refusals_are_status_objects(side):
    for answer, code in (
        (side.raw(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404),
        (side.send(key="wrong"), 401),
        (side.send(path="/api%2fv1"), 400),
        (side.send(path="/api/../x"), 400),
    ):
        body = json.loads(answer.body)
        assert (answer.code, body["kind"], body["apiVersion"], body["code"]) == (code, "Status", "v1", code)
        assert body["message"] and re.search(rb"content-type: application/json", answer.head)


def test_many_headers_and_long_headers_are_refused(side):
    assert side.send(*[f"X-A{number}: 1" for number in range(120)]).code == 431
    assert side.send("X-A: " + "a" * 70000).code == 431
    assert side.send().code == 200
