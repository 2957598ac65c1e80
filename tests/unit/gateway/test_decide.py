"""Decisions: who, where to, as whom, or why not."""

import base64
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loft.gateway import headers as names
from loft.gateway.authenticate import View
from loft.gateway.decide import decide
from loft.gateway.decision import Allow, Ask, Deny, Request
from loft.identity.directory import Directory
from loft.identity.endpointtoken import EndpointToken, sign
from loft.identity.keys import key_hash

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "k" * 64
LIMITED = "l" * 64
PRIVATE_KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE = PRIVATE_KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
PUBLIC = PRIVATE_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
GROUPS = ("loft:user:ann", "loft:team:dev", "system:authenticated")


def directory():
    scope = {"rules": [{"namespaces": ["a"]}]}
    return Directory(
        [{"metadata": {"name": "ann", "uid": "u"}}, {"metadata": {"name": "bob"}}],
        [{"metadata": {"name": "dev"}, "spec": {"users": ["ann"]}}],
        [
            {"metadata": {"name": "k1"}, "spec": {"user": "ann", "keyHash": key_hash(KEY)}},
            {"metadata": {"name": "k2"}, "spec": {"user": "ann", "keyHash": key_hash(LIMITED), "scope": scope}},
        ],
    )


CENTRE = View(role="centre", directory=directory(), clusters={"east": True, "new": False})
AGENT = View(
    role="agent",
    cluster="east",
    directory=directory(),
    token_key=PUBLIC,
    virtual_clusters={("ns", "vc"): True, ("ns", "closed"): False},
)


def request(path, *headers, method="GET", key=KEY, authority="localhost", from_centre=False):
    all_headers = [(name, value.encode()) for name, value in headers]
    if key:
        all_headers.append(("authorization", f"Bearer {key}".encode()))
    return Request(method=method, path=path, authority=authority, headers=all_headers, from_centre=from_centre)


def allow(view, *arguments, **options):
    decision = decide(request(*arguments, **options), view, NOW)
    assert isinstance(decision, Allow), decision
    return decision


def deny(view, *arguments, **options):
    decision = decide(request(*arguments, **options), view, NOW)
    assert isinstance(decision, Deny), decision
    return decision


def test_centre_asserts_the_user_to_the_agent_and_keeps_the_key():
    decision = allow(CENTRE, "/kubernetes/cluster/east/api/v1/pods?a=b")
    assert (decision.upstream, decision.path) == ("cluster:east", "/kubernetes/cluster/api/v1/pods?a=b")
    headers = dict(decision.set_headers)
    assert (headers[names.USER], headers[names.KEY]) == ("loft:user:ann", "k1")
    assert names.decode_groups(headers[names.GROUPS]) == GROUPS
    assert {"authorization", "cookie"} <= set(decision.removed)
    assert not decision.is_long_running


def test_agent_impersonates():
    decision = allow(AGENT, "/kubernetes/cluster/api/v1/pods?watch=1")
    assert (decision.upstream, decision.path) == ("apiserver", "/api/v1/pods?watch=1")
    assert decision.set_headers == (("impersonate-user", "loft:user:ann"),)
    assert (decision.group_header, decision.groups) == ("impersonate-group", GROUPS)
    assert decision.is_long_running
    assert set(names.ASSERTED) <= set(decision.removed)


def test_an_upgrade_takes_the_twin_upstream():
    path = "/kubernetes/cluster/api/v1/namespaces/a/pods/p/exec"
    assert allow(AGENT, path, ("upgrade", "SPDY/3.1"), method="POST").upstream == "apiserver:upgrade"
    assert allow(AGENT, path, ("upgrade", "SPDY/3.1"), method="POST").is_long_running


def test_virtual_cluster_at_the_centre_goes_by_the_cluster_only():
    decision = allow(CENTRE, "/kubernetes/virtualcluster/east/ns/unknown/api")
    assert (decision.upstream, decision.path) == ("cluster:east", "/kubernetes/virtualcluster/ns/unknown/api")


def test_virtual_cluster_at_the_agent_is_asked_for_first():
    decision = decide(request("/kubernetes/virtualcluster/ns/vc/api"), AGENT, NOW)
    assert isinstance(decision, Ask)
    assert (decision.identity.user, decision.namespace, decision.name) == ("loft:user:ann", "ns", "vc")
    assert isinstance(decision.then, Allow)
    assert decision.then.upstream == "vc:ns/vc"
    assert decision.then.groups == (*GROUPS, "loft:virtualcluster:access")


def test_permission_is_asked_before_existence_is_told():
    decision = decide(request("/kubernetes/virtualcluster/ns/none/api"), AGENT, NOW)
    assert isinstance(decision, Ask) and isinstance(decision.then, Deny)
    assert decision.then.code == 404


def jwt(**claims):
    def part(value):
        return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2ln"


ACCOUNT = jwt(iss="x", sub="system:serviceaccount:a:b")


def test_service_accounts_of_a_virtual_cluster_pass_with_their_own_token():
    decision = allow(AGENT, "/kubernetes/virtualcluster/ns/vc/api", key=ACCOUNT)
    assert decision.upstream == "vc:ns/vc:bearer"
    assert dict(decision.set_headers) == {"authorization": f"Bearer {ACCOUNT}"}
    assert decision.groups == ()
    assert "authorization" not in decision.removed and "cookie" in decision.removed
    through = allow(CENTRE, "/kubernetes/virtualcluster/east/ns/vc/api", key=ACCOUNT)
    assert dict(through.set_headers) == {"authorization": f"Bearer {ACCOUNT}"}
    assert (
        allow(AGENT, "/kubernetes/virtualcluster/ns/vc/api", key=ACCOUNT, from_centre=True).upstream
        == "vc:ns/vc:bearer"
    )


@pytest.mark.parametrize(
    "view,path,key",
    [
        (AGENT, "/kubernetes/virtualcluster/ns/closed/api", ACCOUNT),
        (AGENT, "/kubernetes/virtualcluster/ns/none/api", ACCOUNT),
        (AGENT, "/kubernetes/cluster/api", ACCOUNT),
        (CENTRE, "/kubernetes/cluster/east/api", ACCOUNT),
        (CENTRE, "/kubernetes/management/api", ACCOUNT),
        (AGENT, "/kubernetes/virtualcluster/ns/vc/api", jwt(sub="ann")),
        (AGENT, "/kubernetes/virtualcluster/ns/vc/api", jwt(iss="loft", sub="system:serviceaccount:a:b")),
    ],
)
def test_service_account_tokens_are_good_for_nothing_else(view, path, key):
    assert deny(view, path, key=key).code == 401


def endpoint_token(user="ann", key="k1", cluster="east"):
    return sign(EndpointToken(cluster=cluster, user=user, key=key, expires=NOW + timedelta(minutes=5)), PRIVATE, NOW)


def test_an_endpoint_token_stands_for_its_access_key():
    decision = allow(AGENT, "/kubernetes/cluster/api", key=endpoint_token())
    assert dict(decision.set_headers) == {"impersonate-user": "loft:user:ann"}
    assert decision.audit["key"] == "k1"
    assert deny(AGENT, "/kubernetes/cluster/api/v1/namespaces/b/pods", key=endpoint_token(key="k2")).code == 403


@pytest.mark.parametrize(
    "view,token",
    [
        (AGENT, endpoint_token(cluster="west")),
        (AGENT, endpoint_token(user="bob")),
        (AGENT, endpoint_token(key="gone")),
        (CENTRE, endpoint_token()),
        (msgspec.structs.replace(AGENT, token_key=b""), endpoint_token()),
    ],
    ids=["another cluster", "another user's", "revoked key", "at the centre", "no key to verify with"],
)
def test_endpoint_tokens_that_are_refused(view, token):
    path = "/kubernetes/cluster/east/api" if view.role == "centre" else "/kubernetes/cluster/api"
    assert deny(view, path, key=token).code == 401


def asserted(user="loft:user:ann", groups=GROUPS):
    return [(names.USER, user), (names.GROUPS, names.encode_groups(groups)), (names.KEY, "k1")]


def test_assertions_count_on_the_listener_for_the_centre_only():
    decision = allow(AGENT, "/kubernetes/cluster/api", *asserted(), key="", from_centre=True)
    assert decision.groups == GROUPS
    assert decision.audit["key"] == "k1"
    assert deny(AGENT, "/kubernetes/cluster/api", *asserted(), key="").code == 401


@pytest.mark.parametrize(
    "headers",
    [
        asserted(user="system:admin"),
        asserted(user="kubernetes-admin"),
        asserted(groups=("system:masters",)),
        asserted(groups=(*GROUPS, "system:nodes")),
        asserted()[:1],
        asserted()[1:],
        [(names.USER, "loft:user:ann"), (names.GROUPS, "%%%")],
        [(names.USER, "loft:user:ann"), (names.GROUPS, base64.b64encode(b'{"a":1}').decode())],
        [],
    ],
)
def test_assertions_that_are_refused(headers):
    assert deny(AGENT, "/kubernetes/cluster/api", *headers, key="", from_centre=True).code == 401


def test_a_key_is_not_accepted_from_the_centre():
    assert deny(AGENT, "/kubernetes/cluster/api", from_centre=True).code == 401
    assert deny(AGENT, "/kubernetes/cluster/api", from_centre=True, key=endpoint_token()).code == 401


def test_platform_pages_are_told_who_it_is_or_nobody():
    known = allow(CENTRE, "/auth/token")
    assert dict(known.set_headers)["x-remote-user"] == "loft:user:ann"
    assert known.groups == GROUPS and known.removed == ("authorization",)
    for key in ("", "wrong", ACCOUNT):
        unknown = allow(CENTRE, "/auth/password/login", method="POST", key=key)
        assert (unknown.set_headers, unknown.groups, unknown.group_header) == ((), (), "")
        assert unknown.removed == ("authorization",)
    assert deny(CENTRE, "/auth/token", key=LIMITED).code == 403


def test_agents_keep_their_token_on_the_way_to_the_platform():
    decision = allow(CENTRE, "/agent/v1/replica", key="agent-token")
    assert decision.removed == () and decision.set_headers == ()
    assert decision.is_long_running


def test_management_is_told_by_front_proxy_headers():
    decision = allow(CENTRE, "/kubernetes/management/apis/management.loft.sh/v1/users")
    assert (decision.upstream, decision.path) == ("management", "/apis/management.loft.sh/v1/users")
    assert dict(decision.set_headers) == {
        "x-remote-user": "loft:user:ann",
        "x-remote-uid": "u",
        "x-remote-extra-loft-key": "k1",
    }
    assert (decision.group_header, decision.groups) == ("x-remote-group", GROUPS)


REFUSED = [
    (CENTRE, "/nowhere", {}, 404),
    (CENTRE, "/kubernetes/cluster/west/api", {}, 404),
    (CENTRE, "/kubernetes/cluster/new/api", {}, 503),
    (CENTRE, "/kubernetes/cluster/west/api", {"key": "wrong"}, 401),
    (CENTRE, "/kubernetes/cluster/west/api", {"key": ""}, 401),
    (CENTRE, "/kubernetes/cluster/east/api/../x", {}, 400),
    (CENTRE, "/kubernetes/cluster/east/api", {"method": "TRACE"}, 405),
    (CENTRE, "/kubernetes/cluster/east/api", {"method": "get"}, 405),
    (CENTRE, "/kubernetes/cluster/east/api", {"authority": "a,b"}, 400),
    (CENTRE, "/kubernetes/cluster/east/api", {"authority": ""}, 400),
    (CENTRE, "/kubernetes/cluster/east/api", {"authority": "a@b"}, 400),
    (CENTRE, "/kubernetes/cluster/east/api/v1/namespaces/b/pods", {"key": LIMITED}, 403),
    (CENTRE, "/kubernetes/cluster/east/api", {"key": LIMITED}, 403),
]


@pytest.mark.parametrize("view,path,options,code", REFUSED, ids=[f"{c[1]} {c[2]}" for c in REFUSED])
def test_refused(view, path, options, code):
    decision = deny(view, path, **options)
    assert decision.code == code
    assert KEY not in decision.message


@pytest.mark.parametrize("header", names.IMPERSONATION)
def test_impersonation_is_refused_by_name(header):
    decision = deny(CENTRE, "/kubernetes/cluster/east/api", (names.IMPERSONATES_PREFIX + header, "x"))
    assert decision.code == 403
    assert f"Impersonate-{header.title()}" in decision.message


def test_upgrades_where_there_are_none():
    for path in ("/auth/token", "/kubernetes/management/apis"):
        assert deny(CENTRE, path, ("upgrade", "websocket")).code == 400


def test_refused_discovery_has_a_warning_for_kubectl():
    headers = dict(deny(CENTRE, "/kubernetes/cluster/west/api?timeout=32s").headers)
    assert headers["warning"] == '299 loft "cluster west is not known; see `loft list clusters`"'
    assert "warning" not in dict(deny(CENTRE, "/kubernetes/cluster/west/api/v1/pods").headers)


def test_audit_has_the_target_and_no_query():
    path = "/kubernetes/virtualcluster/ns/vc/apis/apps/v1/namespaces/a/deployments/d/scale?token=secret"
    decision = decide(request(path, method="PATCH"), AGENT, NOW)
    assert decision.audit == {
        "user": "loft:user:ann",
        "key": "k1",
        "verb": "patch",
        "target": "virtualcluster",
        "cluster": "east",
        "space": "ns",
        "virtualCluster": "vc",
        "apiGroup": "apps",
        "resource": "deployments/scale",
        "namespace": "a",
        "name": "d",
        "path": "/apis/apps/v1/namespaces/a/deployments/d/scale",
    }
    assert deny(AGENT, "/kubernetes/cluster/api", key="wrong").audit == {}
