"""Laws of scopes and of the directory: narrowing never widens, and what is taken away is gone."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loft.api.accesskey import AccessKeyScope, AccessKeyScopeRule, AccessKeyVirtualCluster, GroupResources
from loft.identity.directory import Directory
from loft.identity.keys import key_hash
from loft.identity.requestinfo import request_info
from loft.identity.scope import ScopedRequest, is_allowed
from loft.identity.subject import Identity

pytestmark = pytest.mark.law

NAMES = st.sampled_from(["a", "b", "east", "vc"])
LISTS = st.lists(NAMES | st.just("*"), max_size=2)
RULES = st.builds(
    AccessKeyScopeRule,
    verbs=st.lists(st.sampled_from(["get", "list", "watch", "create", "delete", "*"]), max_size=3),
    resources=st.lists(
        st.builds(
            GroupResources,
            group=st.sampled_from(["", "apps", "*"]),
            resources=st.lists(st.sampled_from(["pods", "pods/exec", "namespaces", "*", "*/log"]), max_size=2),
            resource_names=st.lists(NAMES, max_size=1),
        ),
        max_size=2,
    ),
    namespaces=st.lists(NAMES | st.sampled_from(["*", ""]), max_size=2),
    non_resource_urls=st.lists(st.sampled_from(["/version", "/api/*", "*"]), max_size=2),
    request_targets=st.lists(st.sampled_from(["Management", "Cluster", "VCluster", "*"]), max_size=2),
    cluster=st.sampled_from(["", "east", "a"]),
    virtual_clusters=st.lists(st.builds(AccessKeyVirtualCluster, name=NAMES, namespace=NAMES), max_size=2),
)
SCOPES = st.builds(AccessKeyScope, rules=st.lists(RULES, max_size=3))
SEGMENTS = st.lists(
    st.sampled_from(["api", "apis", "v1", "apps", "watch", "namespaces", "pods", "a", "b", "exec", "log", "version"]),
    max_size=8,
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "get", ""])


@st.composite
def requests(draw):
    info = request_info(draw(METHODS), draw(SEGMENTS), draw(st.sampled_from([(), (("watch", ""),)])))
    return ScopedRequest(
        target=draw(st.sampled_from(["Management", "Cluster", "VCluster"])),
        info=info,
        cluster=draw(NAMES),
        namespace=draw(NAMES),
        virtual_cluster=draw(NAMES),
        is_upgrade=draw(st.booleans()),
    )


@given(SCOPES, requests())
def test_a_scope_never_allows_more_than_no_scope(scope, request):
    assert is_allowed(None, request) or not is_allowed(scope, request)


@given(SCOPES, requests(), st.integers(0, 2))
def test_fewer_rules_never_allow_more(scope, request, dropped):
    fewer = AccessKeyScope(rules=scope.rules[:dropped] + scope.rules[dropped + 1 :])
    assert is_allowed(scope, request) or not is_allowed(fewer, request)


@given(RULES, requests(), st.sampled_from(["verbs", "namespaces", "request_targets", "cluster", "virtual_clusters"]))
def test_an_added_restriction_never_allows_more(rule, request, field):
    values = {
        "verbs": ["get"],
        "namespaces": ["a"],
        "request_targets": ["Cluster"],
        "cluster": "east",
        "virtual_clusters": [AccessKeyVirtualCluster(name="vc", namespace="a")],
    }
    free = msgspec.structs.replace(rule, **{field: type(values[field])()})
    bound = msgspec.structs.replace(rule, **{field: values[field]})
    opens_virtual = field == "virtual_clusters" or (field == "request_targets")
    if opens_virtual and free.namespaces and request.target == "VCluster":
        return  # naming virtual clusters is what makes a rule with namespaces apply inside them
    assert is_allowed(AccessKeyScope(rules=[free]), request) or not is_allowed(AccessKeyScope(rules=[bound]), request)


@given(SCOPES, requests())
def test_an_upgrade_is_decided_like_create(scope, request):
    upgrade = msgspec.structs.replace(request, is_upgrade=True)
    if not request.info.verb:
        assert not is_allowed(scope, upgrade)
        return
    created = msgspec.structs.replace(
        request, is_upgrade=False, info=msgspec.structs.replace(request.info, verb="create")
    )
    assert is_allowed(scope, upgrade) == is_allowed(scope, created)


@given(SCOPES, requests())
def test_unknown_methods_are_never_allowed(scope, request):
    request = msgspec.structs.replace(request, info=msgspec.structs.replace(request.info, verb=""))
    assert not is_allowed(scope, request)
    assert not is_allowed(None, request)


@given(METHODS, st.lists(st.text(max_size=4).filter(bool), max_size=9), st.lists(st.tuples(st.text(), st.text())))
def test_any_path_can_be_read(method, segments, query):
    info = request_info(method, segments, query)
    assert info.is_resource == bool(info.resource) or info.is_resource
    assert info.verb or method not in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["user", "no user", "team", "no team", "key", "no key"]),
        st.sampled_from(["x", "y"]),
        st.booleans(),
        st.lists(st.sampled_from(["x", "y"]), max_size=2),
    ),
    max_size=20,
)


def step(directory, objects, what, name, flag, names):
    """Do one change to the directory and to the plain dictionaries that it is compared with."""
    kind = what.removeprefix("no ")
    if what.startswith("no "):
        objects[kind].pop(name, None)
        {"user": directory.remove_user, "team": directory.remove_team, "key": directory.remove_access_key}[kind](name)
        return
    spec = {
        "user": {"disabled": flag, "groups": names},
        "team": {"users": names} if flag else {"groups": names},
        "key": {"user": (names or ["x"])[0], "keyHash": key_hash("bearer-" + (names or ["x"])[-1]), "disabled": flag},
    }[kind]
    body = {"metadata": {"name": name, "uid": name}, "spec": spec}
    objects[kind][name] = body
    {"user": directory.set_user, "team": directory.set_team, "key": directory.set_access_key}[kind](body)


@given(STEPS)
def test_a_directory_changed_step_by_step_equals_one_built_at_once(steps):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    directory = Directory()
    objects = {"user": {}, "team": {}, "key": {}}
    for change in steps:
        step(directory, objects, *change)
    fresh = Directory(objects["user"].values(), objects["team"].values(), objects["key"].values())
    for bearer in ("bearer-x", "bearer-y", "bearer-z"):
        found = directory.authenticate(bearer, now)
        assert found == fresh.authenticate(bearer, now)
        if isinstance(found, Identity):
            assert not any(group.startswith("system:") for group in found.groups if group != "system:authenticated")
