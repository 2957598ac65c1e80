"""Rules of management.loft.sh that are pure: grants, keys, names, what everybody may know."""

from __future__ import annotations

from typing import Any

import pytest

from loft.api.accesskey import AccessKey, AccessKeyScope, AccessKeySpec
from loft.apiserver.caller import Caller
from loft.management.accesskeys import causes, is_own, outward
from loft.management.connects import cause
from loft.management.group import reduced_cluster
from loft.management.policy import granted, member
from loft.management.users import name_clash, profile_of

ANNA = Caller(user="loft:user:anna", groups=("loft:user:anna", "loft:team:dev"))
SERVICE = Caller(user="system:serviceaccount:a:b", groups=("system:authenticated",))


def obj(kind: str = "Cluster", name: str = "x", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "management.loft.sh/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "verb", "subresource", "allowed"),
    [
        ({"owner": {"user": "anna"}}, "delete", "", True),
        ({"owner": {"team": "dev"}}, "update", "", True),
        ({"owner": {"user": "bob"}}, "get", "", False),
        ({"access": [{"verbs": ["get"], "users": ["anna"]}]}, "get", "", True),
        ({"access": [{"verbs": ["get"], "users": ["anna"]}]}, "update", "", False),
        ({"access": [{"verbs": ["*"], "teams": ["dev"]}]}, "delete", "", True),
        ({"access": [{"verbs": ["*"], "users": ["*"]}]}, "get", "", True),
        ({"access": [{"verbs": ["*"], "users": ["*"]}]}, "update", "status", False),
        ({"access": [{"verbs": ["*"], "users": ["*"], "subresources": ["*"]}]}, "update", "status", True),
        ({"access": [{"users": ["anna"]}]}, "get", "", False),
        ({"access": [{"verbs": ["get"], "teams": ["ops"]}]}, "get", "", False),
        ({}, "get", "", False),
    ],
)
def test_owner_and_access_rules(spec: dict[str, Any], verb: str, subresource: str, allowed: bool) -> None:
    assert granted(ANNA, verb, subresource, obj(**spec)) is allowed
    assert not granted(SERVICE, verb, subresource, obj(**spec))


def test_people_read_themselves_and_their_teams() -> None:
    assert member(ANNA, "get", "", obj("User", "anna"))
    assert member(ANNA, "create", "profile", obj("User", "anna"))
    assert member(ANNA, "list", "", obj("Team", "dev"))
    assert not member(ANNA, "update", "", obj("User", "anna"))
    assert not member(ANNA, "patch", "status", obj("User", "anna"))
    assert not member(ANNA, "get", "", obj("User", "dev"))
    assert not member(ANNA, "get", "", obj("Cluster", "anna"))


def test_a_key_is_never_shown_by_its_hash() -> None:
    stored = obj("AccessKey", "k", user="anna", keyHash="h", tokenGeneration=3, ttl=5)
    assert outward(stored)["spec"] == {"user": "anna", "ttl": 5}


def test_whose_a_key_is() -> None:
    assert is_own(ANNA, obj(user="anna")) and not is_own(ANNA, obj(team="dev"))
    team = Caller(user="loft:team:dev", groups=("loft:team:dev",))
    assert is_own(team, obj(team="dev")) and not is_own(team, obj(user="dev"))
    assert not is_own(SERVICE, obj()) and not is_own(SERVICE, obj(user="", team=""))


def limited(scope: AccessKeyScope | None) -> AccessKey:
    return AccessKey(spec=AccessKeySpec(user="anna", scope=scope))


def test_a_limited_key_cannot_make_a_wider_one() -> None:
    parent = limited(AccessKeyScope(rules=[]))
    assert causes(ANNA, {}, parent) == []
    assert [wrong.field for wrong in causes(ANNA, {"scope": {"rules": [{"cluster": "c"}]}}, parent)] == ["spec.scope"]
    assert causes(ANNA, {"scope": {"rules": []}}, limited(None)) == []


@pytest.mark.parametrize(
    ("mine", "other", "clash"),
    [
        ({}, {}, ""),
        ({"username": "b"}, {}, "b"),
        ({"username": "z"}, {"username": "z"}, "b"),
        ({}, {"username": "a"}, "b"),
        ({"username": "z"}, {"username": "y"}, ""),
    ],
)
def test_two_users_do_not_sign_in_under_one_name(mine: dict[str, str], other: dict[str, str], clash: str) -> None:
    assert name_clash(obj("User", "a", **mine), [obj("User", "a"), obj("User", "b", **other)]) == clash


def test_what_everybody_knows_of_a_cluster() -> None:
    cluster = obj(config={"secretName": "s"}, access=[{}], owner={"user": "o"}, displayName="D")
    cluster["metadata"] |= {
        "annotations": {"loft.sh/direct-cluster-endpoint-ca-data": "x", "a": "b"},
        "managedFields": [],
    }
    cluster["status"] = {"phase": "Failed", "message": "internal", "agentEndpoint": "10.0.0.1:1", "online": True}
    shown = reduced_cluster(cluster)
    assert shown["spec"] == {"displayName": "D"}
    assert shown["status"] == {"phase": "Failed", "online": True}
    assert shown["metadata"] == {"name": "x", "annotations": {"loft.sh/direct-cluster-endpoint-ca-data": "x"}}


def test_a_profile_has_no_password() -> None:
    assert profile_of(obj("User", "a", displayName="A", passwordRef={"secretName": "s"}, email="e")) == {
        "apiVersion": "management.loft.sh/v1",
        "kind": "UserProfile",
        "displayName": "A",
    }


def test_kubeconfigs_are_checked_before_anybody_acts() -> None:
    wrong = cause("c", "x" * 300_000)
    assert wrong is not None and wrong.field == "spec.config"
    assert cause("", "x") is not None and cause("A", "x") is not None
    bomb = cause("c", "a: &a [1]\nb: [*a, *a]")
    assert bomb is not None and bomb.field == "spec.config"
