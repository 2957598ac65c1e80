"""JSON Patch: the cases of RFC 6902, appendix A."""

from typing import Any

import pytest

from loft.apiserver.jsonpatch import PatchError, apply


@pytest.mark.parametrize(
    ("document", "operations", "outcome"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": [2]}], {"a": [1, [2]]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/1"}], {"a": [1, 3]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
        ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}], {"a": {}, "b": {"y": 1}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        (
            {"a/b": 1, "m~n": 2},
            [{"op": "test", "path": "/a~1b", "value": 1}, {"op": "remove", "path": "/m~0n"}],
            {"a/b": 1},
        ),
        ({}, [{"op": "replace", "path": "", "value": {"z": 1}}], {"z": 1}),
    ],
)
def test_operations(document: Any, operations: Any, outcome: Any) -> None:
    before = repr(document)
    assert apply(document, operations) == outcome
    assert repr(document) == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "remove", "path": "/x"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "/l/5", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "increase", "path": "/a"},
        {"op": "add", "path": "/b"},
        {"path": "/b"},
        7,
    ],
)
def test_operations_that_do_not_fit(operation: Any) -> None:
    with pytest.raises(PatchError):
        apply({"a": 1, "l": [1]}, [operation])


def test_a_patch_is_a_bounded_list() -> None:
    for wrong in ({}, "x", [{"op": "add", "path": "/a", "value": 1}] * 1001):
        with pytest.raises(PatchError):
            apply({}, wrong)
