"""Spaces and Namespaces: the two shapes, owners, protected metadata, names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from loft.apiserver.caller import Caller
from loft.cluster import owner
from loft.cluster.naming import why_not
from loft.cluster.spaceview import is_space, owner_of, protected_changes, to_namespace, to_space
from loft.cluster.tenants import owns, subjects_for, subjects_of
from loft.core.action import Apply, Delete

NAMES = some.text("abcxyz-./", min_size=1, max_size=12)
TEXTS = some.dictionaries(NAMES, some.text(max_size=5), max_size=3)


def namespace(**annotations: str) -> dict[str, Any]:
    metadata = {"name": "s", "uid": "u", "labels": {"loft.sh/space": "true"}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "status": {"phase": "Active"}}


@given(labels=TEXTS, annotations=TEXTS, user=some.sampled_from(["", "anna"]))
def test_a_space_comes_back_as_it_was(labels: dict[str, str], annotations: dict[str, str], user: str) -> None:
    metadata: dict[str, Any] = {"name": "s"}
    metadata |= {"labels": labels} if labels else {}
    metadata |= {"annotations": annotations} if annotations else {}
    space = {"metadata": metadata, "spec": {"user": user} if user else {}}
    there = to_namespace(space)
    assert is_space(there)
    back = to_space(there)
    assert (back["metadata"], back["spec"]) == (space["metadata"], space["spec"])


def test_an_owner_cannot_be_slipped_in_as_an_annotation() -> None:
    space = {"metadata": {"name": "s", "annotations": {"loft.sh/owner-user": "root", "loft.sh/owner-team": "t"}}}
    assert "annotations" not in to_namespace(space)["metadata"]
    assert owner_of(to_space(to_namespace(space | {"spec": {"user": "anna"}}))) == ("anna", "")


def test_managed_fields_speak_of_the_space() -> None:
    stored = namespace(**{"loft.sh/owner-user": "anna"})
    stored["metadata"]["managedFields"] = [
        {
            "manager": "kubectl",
            "apiVersion": "v1",
            "fieldsV1": {
                "f:metadata": {
                    "f:annotations": {".": {}, "f:loft.sh/owner-user": {}},
                    "f:labels": {".": {}, "f:loft.sh/space": {}, "f:a": {}},
                }
            },
        }
    ]
    (entry,) = to_space(stored)["metadata"]["managedFields"]
    assert entry["apiVersion"] == "cluster.loft.sh/v1"
    assert entry["fieldsV1"] == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:user": {}}}


@pytest.mark.parametrize(
    ("metadata", "paths"),
    [
        ({"labels": {"team": "a"}}, []),
        ({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, []),
        ({"annotations": {"example.com/x": "1", "sleepmode.loft.sh/sleep-after": "60"}}, []),
        ({"labels": {"notkubernetes.io/x": "1"}}, []),
        (
            {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
            ["metadata.labels[pod-security.kubernetes.io/enforce]"],
        ),
        (
            {"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "a=b"}},
            ["metadata.annotations[scheduler.alpha.kubernetes.io/node-selector]"],
        ),
        ({"finalizers": ["x/y"]}, ["metadata.finalizers"]),
        ({"ownerReferences": [{"uid": "1"}]}, ["metadata.ownerReferences"]),
    ],
)
def test_protected_metadata(metadata: dict[str, Any], paths: list[str]) -> None:
    assert protected_changes({}, {"metadata": metadata}) == paths
    assert protected_changes({"metadata": metadata}, {}) == paths
    assert protected_changes({"metadata": metadata}, {"metadata": metadata}) == []


@pytest.mark.parametrize("name", ["a", "team-a", "a1", "x" * 63])
def test_names_that_are_fine(name: str) -> None:
    assert why_not(name) == ""


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "a-", "a.b", "a_b", "x" * 64, "kube-x", "loft", "loft-x", "default", "a\n"]
)
def test_names_that_are_not(name: str) -> None:
    assert why_not(name)


def test_the_owner_gets_one_role_binding_and_then_there_is_nothing_to_do() -> None:
    space = namespace(**{"loft.sh/owner-user": "anna"})
    (apply,) = owner.plan(space, None)
    assert isinstance(apply, Apply)
    assert apply.body["subjects"][0]["name"] == "loft:user:anna"
    assert owner.plan(space, apply.body) == []
    (again,) = owner.plan(namespace(**{"loft.sh/owner-team": "dev"}), apply.body)
    assert isinstance(again, Apply)
    assert again.body["subjects"] == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "loft:team:dev"}
    ]


def test_without_an_owner_our_role_binding_goes_and_others_stay() -> None:
    (apply,) = owner.plan(namespace(**{"loft.sh/owner-user": "anna"}), None)
    assert isinstance(apply, Apply)
    observed = apply.body | {"metadata": apply.body["metadata"] | {"uid": "b-1"}}
    (gone,) = owner.plan(namespace(), observed)
    assert isinstance(gone, Delete) and gone.uid == "b-1"
    foreign = observed | {"metadata": observed["metadata"] | {"labels": {}}}
    assert owner.plan(namespace(), foreign) == []


def test_namespaces_that_are_no_spaces_or_are_ending_are_left_alone() -> None:
    plain = {"metadata": {"name": "x", "annotations": {"loft.sh/owner-user": "anna"}}}
    ending = namespace(**{"loft.sh/owner-user": "anna"})
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert owner.plan(plain, None) == owner.plan(ending, None) == owner.plan(None, None) == []


def test_who_is_meant_by_a_role_binding() -> None:
    caller = Caller(user="loft:user:a", groups=("loft:user:a", "loft:team:t", "system:authenticated"))
    assert subjects_for(caller) == ["User:loft:user:a", "Group:loft:user:a", "Group:loft:team:t"]
    binding = {
        "subjects": [
            {"kind": "Group", "name": "loft:team:t"},
            {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
        ]
    }
    assert subjects_of(binding) == ["Group:loft:team:t", "User:system:serviceaccount:n:s"]
    assert subjects_of({}) == []


def test_owning() -> None:
    caller = Caller(user="loft:user:a", groups=("loft:team:t",))
    assert owns(caller, {"spec": {"user": "a"}}) and owns(caller, {"spec": {"team": "t"}})
    assert not owns(caller, {"spec": {"user": "b"}}) and not owns(caller, {"spec": {}})
    assert not owns(Caller(user="system:serviceaccount:a:b"), {"spec": {"user": "", "team": ""}})
