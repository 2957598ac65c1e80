from __future__ import annotations

import pytest

from loft.core.quantity import NANO, VALUE_MAX, equal, parse, render


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1", NANO),
        (3, 3 * NANO),
        (0.5, NANO // 2),
        ("+1", NANO),
        ("-250m", -NANO // 4),
        ("250m", NANO // 4),
        ("100u", NANO // 10_000),
        ("7n", 7),
        (".5", NANO // 2),
        ("5.", 5 * NANO),
        ("1.5Gi", 3 * 2**29 * NANO),
        ("1Ei", 2**60 * NANO),
        ("2k", 2000 * NANO),
        ("1E", 10**18 * NANO),
        ("1e3", 1000 * NANO),
        ("1E3", 1000 * NANO),
        ("12E-1", 1_200_000_000),
        ("1.2345678901", 1_234_567_891),  # rounded away from zero
        ("-1.2345678901", -1_234_567_891),
        ("0.1n", 1),
        ("9Ei", VALUE_MAX),
        ("1e200", VALUE_MAX),
    ],
)
def test_parse(text: str | int | float, value: int) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    "text", ["", ".", "1 Gi", "Gi", "1gi", "1K", "1e", "--1", "1e1k", "٣", "1Gib", "0x10", "1" * 65]
)
def test_not_a_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "binary", "canonical"),
    [
        ("0", False, "0"),
        ("1000m", False, "1"),
        ("1500m", False, "1500m"),
        ("1024Mi", True, "1Gi"),
        ("1536Mi", True, "1536Mi"),
        ("1000", True, "1000"),
        ("1025", True, "1025"),
        ("1e3", False, "1k"),
        ("1.5", True, "1500m"),
        ("-2Gi", True, "-2Gi"),
        ("3n", False, "3n"),
    ],
)
def test_canonical_text(text: str, binary: bool, canonical: str) -> None:
    assert render(parse(text), binary=binary) == canonical


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("1", "1000m", True), ("1Gi", "1G", False), (1, "1", True), ("x", "x", True), ("x", "1", False)],
)
def test_equality_is_by_value(one: str, other: str, same: bool) -> None:
    assert equal(one, other) is same
