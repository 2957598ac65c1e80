"""Tables, ages, cells."""

from datetime import UTC, datetime

import pytest

from loft.api.crd import AGE, Column
from loft.apiserver.table import at_path, cell, duration, table

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (-1, "0s"),
        (-5, "<invalid>"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 61, "3h1m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (2 * 365 * 86400, "2y"),
        (2 * 365 * 86400 + 5 * 86400, "2y5d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_durations_as_kubernetes_prints_them(seconds: int, shown: str) -> None:
    assert duration(seconds) == shown


def test_paths_with_dots_in_keys() -> None:
    item = {"metadata": {"annotations": {"loft.sh/x": "y"}}}
    assert at_path(item, r".metadata.annotations.loft\.sh/x") == "y"
    assert at_path(item, ".metadata.nothing.more") is None
    assert at_path({"metadata": "text"}, ".metadata.name") is None


def test_cells_for_what_is_missing_or_odd() -> None:
    assert cell(AGE, {}, NOW) == "<unknown>"
    assert cell(AGE, {"metadata": {"creationTimestamp": "yesterday"}}, NOW) == "<invalid>"
    assert cell(AGE, {"metadata": {"creationTimestamp": "2026-01-02T03:04:00Z"}}, NOW) == "5s"
    assert cell(Column("X", "string", ".x"), {"x": ["a", 1]}, NOW) == "a,1"
    assert cell(Column("X", "string", ".x"), {}, NOW) is None


def test_rows_carry_what_is_asked_for() -> None:
    item = {"metadata": {"name": "a"}, "spec": {"x": 1}}
    for include, carried in (("Object", item), ("Metadata", {"name": "a"})):
        row = table((), [item], {}, NOW, include)["rows"][0]
        assert row["cells"] == ["a"]
        assert (row["object"] if include == "Object" else row["object"]["metadata"]) == carried
    assert "object" not in table((), [item], {}, NOW, "None")["rows"][0]
