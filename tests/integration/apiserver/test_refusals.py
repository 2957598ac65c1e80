"""What must never be let through: forged identities, oversized or odd bodies, paths that name nothing."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest

from integration.apiserver.bed import Bed
from loft.pki.authority import issue, new_authority

pytestmark = pytest.mark.integration

LIST = "/apis/management.loft.sh/v1/users"
FORGED = (("X-Remote-User", "loft:user:root"), ("X-Remote-Group", "loft:team:loft-admins"))


def test_identity_headers_without_a_certificate_are_nothing(bed: Bed) -> None:
    for server, path in (("management", LIST), ("cluster", "/apis/cluster.loft.sh/v1/spaces")):
        code, answer = bed.call("GET", path, headers=FORGED, server=server)
        assert (code, answer["kind"], answer["reason"]) == (401, "Status", "Unauthorized")
        masters = (("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters"))
        assert bed.call("GET", path, headers=masters, server=server)[0] == 401
        assert bed.call("GET", path, headers=(("Authorization", "Bearer x"),), server=server)[0] == 401


def test_a_certificate_of_another_authority_ends_the_handshake(bed: Bed) -> None:
    now = datetime.now(UTC)
    other = issue(new_authority("loft-front-proxy-ca", now), common_name="loft-gateway", usage="client", now=now)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        bed.call("GET", LIST, headers=FORGED, certificate=other)


def test_a_right_authority_with_a_wrong_name_or_use_is_no_front_proxy(bed: Bed) -> None:
    now = datetime.now(UTC)
    unnamed = issue(bed.front_proxy_authority, common_name="somebody", usage="client", now=now)
    assert bed.call("GET", LIST, headers=FORGED, certificate=unnamed)[0] == 401
    # The API server's authority may speak only under the names it lists.
    foreign = issue(bed.server.front_proxy_authority, common_name="loft-gateway", usage="client", now=now)
    assert bed.call("GET", LIST, headers=FORGED, certificate=foreign)[0] == 401
    server_only = issue(bed.front_proxy_authority, common_name="loft-gateway", dns=("a.b",), usage="server", now=now)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        bed.call("GET", LIST, headers=FORGED, certificate=server_only)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("X-Remote-User", ""),),
        (("X-Remote-User", "loft:user:a"), ("X-Remote-User", "loft:user:b")),
        (("X-Remote-User", "system:admin"),),
        (("X-Remote-User", "kubernetes-admin"),),
        (("X-Remote-User", "loft:user:a"), ("X-Remote-Group", "system:masters")),
        (("X-Remote-User", "loft:user:"),),
    ],
)
def test_the_gateway_may_only_name_identities_of_the_platform(bed: Bed, headers: tuple[tuple[str, str], ...]) -> None:
    assert bed.call("GET", LIST, headers=headers, certificate=bed.gateway)[0] == 401


def test_health_needs_no_certificate_and_nothing_else_is_open(bed: Bed) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        assert bed.call("GET", path) == (200, "ok")
    assert bed.call("GET", "/version")[1]["gitVersion"].startswith("v")
    for path in ("/apis", "/openapi/v2", "/openapi/v3", "/apis/management.loft.sh/v1", "/"):
        assert bed.call("GET", path)[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "users", b"x" * (3 * 1024 * 1024 + 1), 413),
        ("POST", "users", b"{", 400),
        ("POST", "users", b"[]", 400),
        ("POST", "users", b"[" * 100_000, 400),
        ("POST", "users", b'{"metadata": []}', 400),
        ("POST", "users", {"kind": "Team"}, 400),
        ("POST", "users", {"apiVersion": "v1"}, 400),
        ("PUT", "users/a", {"metadata": {"name": "b"}}, 400),
        ("PATCH", "users/a", {}, 415),
        ("POST", "users/a", {}, 405),
        ("DELETE", "users", None, 405),
        ("GET", "users/..", None, 400),
        ("GET", "users/a/b/c", None, 404),
        ("GET", "users/a/nothing", None, 404),
        ("GET", "namespaces/x/users", None, 404),
        ("GET", "nothing", None, 404),
        ("GET", "users?limit=many", None, 400),
        ("GET", "users?watch=perhaps", None, 400),
        ("POST", "users?dryRun=Some", {}, 400),
        ("GET", "users/%2e%2e%2fteams", None, 400),
        ("TRACE", "users", None, 405),
    ],
)
def test_odd_requests_get_a_status(bed: Bed, method: str, path: str, body: object, code: int) -> None:
    status, answer = bed.as_user("root", method, path, body, teams=("loft-admins",))
    assert status == code, answer
    assert answer["kind"] == "Status" and answer["code"] == code and answer["message"]


def test_yaml_aliases_are_not_followed(bed: Bed) -> None:
    bomb = b"a: &a [x,x,x]\nb: &b [*a,*a,*a]\nkind: User\n"
    path = "/apis/management.loft.sh/v1/users/bomb?fieldManager=x"
    media = "application/apply-patch+yaml"
    code, answer = bed.call("PATCH", path, bomb, headers=FORGED, certificate=bed.gateway, content_type=media)
    assert code == 400 and "aliases" in answer["message"], answer


def test_accept_without_json_is_refused(bed: Bed) -> None:
    headers = (*FORGED, ("Accept", "application/vnd.kubernetes.protobuf"))
    code, answer = bed.call("GET", LIST, headers=headers, certificate=bed.gateway)
    assert (code, answer["reason"]) == (406, "NotAcceptable")


def test_warnings_about_unknown_fields_reach_kubectl(bed: Bed) -> None:
    body = '{"apiVersion":"management.loft.sh/v1","kind":"Team","metadata":{"name":"warned"},"spec":{"userz":[]}}'
    with bed.front("root", ("loft-admins",)) as kubectl:
        assert 'Warning: unknown field "spec.userz"' in kubectl("create", "--validate=warn", "-f", "-", stdin=body)
        assert 'unknown field "spec.userz"' in kubectl(
            "apply", "--validate=strict", "-f", "-", stdin=body.replace("warned", "strict"), ok=False
        )


def test_kubectl_creates_kinds_that_cannot_be_patched(bed: Bed) -> None:
    """It asks for the OpenAPI v2 document, as protobuf, of such kinds before it sends anything."""
    bed.apply({"apiVersion": "storage.loft.sh/v1", "kind": "User", "metadata": {"name": "keyed"}, "spec": {}})
    body = '{"apiVersion":"management.loft.sh/v1","kind":"OwnedAccessKey","metadata":{"name":"made"},"spec":{"ttl":60}}'
    with bed.front("keyed") as kubectl:
        assert "created" in kubectl("create", "-f", "-", stdin=body)
        answer = kubectl("create", "-f", "-", stdin=body.replace("ttl", "tll").replace("made", "no"), ok=False)
        assert 'unknown field "spec.tll"' in answer
        answer = kubectl("create", "-f", "-", stdin=body.replace("OwnedAccessKey", "Nothing"), ok=False)
        assert 'no matches for kind "Nothing"' in answer
