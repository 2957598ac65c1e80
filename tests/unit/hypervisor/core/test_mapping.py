"""Rules become a tree in which every path has one owner."""

from __future__ import annotations

import pytest

from loft.hypervisor.core.mapping import Compute, Copy, Fixed, Guard, Ignore, compile_rules, expand, owned_paths


def test_braces_stand_for_several_paths() -> None:
    assert expand("a.{b,c}[*].{d,e}") == ["a.b[*].d", "a.b[*].e", "a.c[*].d", "a.c[*].e"]


@pytest.mark.parametrize("rules", [("a.b", "a.b"), ("a", "a.b"), ("a.b", "a"), ("a[*].b", "a[*].b"), ("a[*].b", "a")])
def test_two_owners_of_one_field_are_refused(rules: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="own"):
        compile_rules(tuple(Copy(path) for path in rules))


def test_owned_paths_end_at_lists_and_leave_out_what_stays_inside() -> None:
    tree = compile_rules((Copy("a.b"), Copy("a.c[*].d"), Ignore("a.e"), Guard("f", bool, ""), Fixed("g", 1)))
    assert owned_paths(tree) == [("a", "b"), ("a", "c"), ("f",), ("g",)]


def test_computed_and_fixed_fields_are_visited_though_absent() -> None:
    tree = compile_rules((Compute("a.b.c", lambda value, at: 1), Copy("x.y"), Fixed("l[*].z", 2)))
    assert tree.always == ("a",)
    items = tree.children["l"].items
    assert items is not None and items.always == ("z",)
