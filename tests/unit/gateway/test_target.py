"""Paths: what leads where, and what leads nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loft.gateway.target import BadTarget, Target, parse

GOOD = [
    ("centre", "/kubernetes/cluster/east/api/v1/pods?a=b", "cluster", "east", "", "", "/api/v1/pods?a=b"),
    ("centre", "/kubernetes/cluster/east", "cluster", "east", "", "", "/"),
    ("centre", "/kubernetes/cluster/east/", "cluster", "east", "", "", "/"),
    ("centre", "/kubernetes/cluster/east?x", "cluster", "east", "", "", "/?x"),
    ("agent", "/kubernetes/cluster/api", "cluster", "", "", "", "/api"),
    ("agent", "/kubernetes/cluster", "cluster", "", "", "", "/"),
    ("centre", "/kubernetes/virtualcluster/east/ns/vc/api", "virtualcluster", "east", "ns", "vc", "/api"),
    ("agent", "/kubernetes/virtualcluster/ns/vc/api", "virtualcluster", "", "ns", "vc", "/api"),
    ("centre", "/kubernetes/management/apis", "management", "", "", "", "/apis"),
    ("centre", "/kubernetes/management", "management", "", "", "", "/"),
    ("centre", "/auth/password/login", "platform", "", "", "", "/auth/password/login"),
    ("centre", "/version", "platform", "", "", "", "/version"),
    ("centre", "/agent/v1/replica", "platform", "", "", "", "/agent/v1/replica"),
    ("agent", "/healthz", "health", "", "", "", "/healthz"),
    ("agent", "/kubernetes/cluster/api/v1/a%20b/%C3%A9", "cluster", "", "", "", "/api/v1/a%20b/%C3%A9"),
]


@pytest.mark.parametrize("role,path,kind,cluster,namespace,name,rest", GOOD, ids=[f"{c[0]} {c[1]}" for c in GOOD])
def test_where_a_path_leads(role, path, kind, cluster, namespace, name, rest):
    target = parse(role, path)
    assert isinstance(target, Target), target
    found = (target.kind, target.cluster, target.namespace, target.name, target.rest)
    assert found == (kind, cluster, namespace, name, rest)


@pytest.mark.parametrize(
    "role,path",
    [
        ("centre", "/"),
        ("centre", "/kubernetes"),
        ("centre", "/kubernetes/cluster"),
        ("centre", "/kubernetes/cluster/"),
        ("centre", "/kubernetes/cluster/East/api"),
        ("centre", "/kubernetes/cluster/e%61st/api"),
        ("centre", "/kubernetes/cluster/-x/api"),
        ("centre", "/kubernetes/cluster/" + "a" * 254),
        ("centre", "/kubernetes/virtualcluster/east/ns"),
        ("centre", "/kubernetes/project/p/space/s"),
        ("centre", "/kubernetes%63/cluster/east"),
        ("centre", "/%61uth/login"),
        ("centre", "/authx"),
        ("centre", "/versions"),
        ("centre", "/agent/v2/replica"),
        ("centre", "/healthz/x"),
        ("agent", "/kubernetes/management/apis"),
        ("agent", "/auth/password/login"),
        ("agent", "/version"),
        ("agent", "/kubernetes/virtualcluster/ns"),
        ("agent", "/kubernetes/clusters/api"),
    ],
)
def test_what_leads_nowhere(role, path):
    target = parse(role, path)
    assert isinstance(target, BadTarget)
    assert target.code == 404


@pytest.mark.parametrize(
    "tail",
    ["/../x", "/.",
     "/%2e%2e/x", "/..;a/x", "/.;/x", "//x", "/a%2Fb", "/a%5Cb", "/a\\b", "/a%00", "/%0a", "/%7f", "/%ff",
     "/%c0%ae", "/%zz", "/%a", "/a#b", "/a b", "/é", "/?a b", "/?#", "/" + "a" * 17000, "/?" + "&".join("a" * 600)],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(tail):
    target = parse("agent", "/kubernetes/cluster/api" + tail)
    assert isinstance(target, BadTarget)
    assert target.code == 400


SEGMENT = st.text(alphabet="ab.%2efF/\\;0:~-_#? \x00\xe9", max_size=8)


@pytest.mark.law
@given(st.sampled_from(["centre", "agent"]), st.lists(SEGMENT, max_size=6), SEGMENT)
def test_what_passes_is_a_suffix_of_what_came_and_has_one_reading(role, segments, query):
    prefix = "/kubernetes/cluster/east" if role == "centre" else "/kubernetes/cluster"
    raw = prefix + "".join(f"/{segment}" for segment in segments) + (f"?{query}" if query else "")
    target = parse(role, raw)
    if isinstance(target, BadTarget):
        return
    assert target.rest == raw[len(prefix) :] or (target.rest == "/" + raw[len(prefix) :])
    path = target.rest.partition("?")[0]
    assert "//" not in path
    assert "%2f" not in path.lower() and "%5c" not in path.lower()
    assert not {".", ".."} & {segment.partition(";")[0] for segment in target.segments}
    assert not any("/" in segment or "\x00" in segment for segment in target.segments)
