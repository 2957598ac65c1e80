from __future__ import annotations

from typing import Any

import pytest

from loft.core.diff import apply_merge_patch, covers, differences, merge_patch


@pytest.mark.parametrize(
    ("actual", "desired", "covered"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 0}, {"a": False}, False),
        ({}, {"a": None}, True),
        ({"a": 1}, {"a": None}, True),
        ({}, {"a": ""}, False),
        ({}, {"a": 0}, False),
        # Defaults inside the items of a list.
        ({"ports": [{"port": 80, "protocol": "TCP"}]}, {"ports": [{"port": 80}]}, True),
        ({"ports": [{"port": 80}, {"port": 81}]}, {"ports": [{"port": 80}]}, False),
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}, False),
        # The store does not tell empty from absent in lists and maps of text …
        ({}, {"ports": []}, True),
        ({"ports": [1]}, {"ports": []}, False),
        ({"metadata": {}}, {"metadata": {"labels": {}}}, True),
        ({"metadata": None}, {"metadata": {"labels": {}}}, True),
        # … but does in other fields.
        ({"name": "v"}, {"name": "v", "emptyDir": {}}, False),
        ({"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}, True),
        # Quantities by value, only where quantities stand.
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, {"limits": {"cpu": "1000m", "memory": "1024Mi"}}, True),
        ({"limits": {"cpu": 1}}, {"limits": {"cpu": "1"}}, True),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, False),
        ({"data": {"a": "1"}}, {"data": {"a": "1000m"}}, False),
        ({"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "1024Mi"}}, True),
        # Lists to which others add.
        ({"finalizers": ["theirs", "ours"]}, {"finalizers": ["ours"]}, True),
        ({"finalizers": ["theirs"]}, {"finalizers": ["ours"]}, False),
        ({"ownerReferences": [{"uid": "1"}, {"uid": "2", "kind": "X"}]}, {"ownerReferences": [{"uid": "2"}]}, True),
        ({"ownerReferences": [{"uid": "2", "kind": "Y"}]}, {"ownerReferences": [{"uid": "2", "kind": "X"}]}, False),
        ("text", {"a": 1}, False),
        ({"a": "text"}, {"a": ["x"]}, False),
    ],
)
def test_covers(actual: Any, desired: Any, covered: bool) -> None:
    assert covers(actual, desired) is covered


def test_lists_that_others_extend_can_be_named() -> None:
    actual = {"tolerations": [{"key": "a"}, {"key": "added", "operator": "Exists"}]}
    assert not covers(actual, {"tolerations": [{"key": "a"}]})
    assert covers(actual, {"tolerations": [{"key": "a"}]}, extended={"tolerations"})


def test_differences_name_their_place() -> None:
    actual = {"spec": {"containers": [{"name": "a", "image": "x"}], "replicas": 1}}
    desired = {"spec": {"containers": [{"name": "a", "image": "y"}], "replicas": 2, "paused": True}}
    assert list(differences(actual, desired)) == ["spec.containers[0].image", "spec.replicas", "spec.paused"]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    # The examples of RFC 7386, appendix A.
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert apply_merge_patch(target, patch) == result


def test_a_patch_says_only_what_changed() -> None:
    old = {"spec": {"a": 1, "b": 2, "c": {"d": True}}, "metadata": {"labels": {"x": "y"}}}
    new = {"spec": {"a": 1, "b": 3, "c": {"d": 1}}, "metadata": {}}
    assert merge_patch(old, new) == {"spec": {"b": 3, "c": {"d": 1}}, "metadata": {"labels": None}}
    assert merge_patch(old, old) == {}
