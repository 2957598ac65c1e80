"""Kubernetes quantities ("250m", "1.5Gi", "2e3") as exact integers of billionths.

A billionth is the smallest step the API server keeps, so integers carry every quantity without rounding and
sums of many quantities stay exact. Source: Kubernetes API reference, "Quantity".
"""

from __future__ import annotations

import re

NANO = 1_000_000_000
LENGTH_MAX = 64
VALUE_MAX = (2**63 - 1) * NANO
"""The API server caps a quantity at 2^63-1."""

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_FORM = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:([eE][+-]?\d{1,3})|([KMGTPE]i)|([numkMGTPE]))?", re.ASCII)


def parse(text: str | int | float) -> int:
    """Return the quantity in billionths; what is finer is rounded away from zero, what is larger is capped.

    Numbers are accepted as they come out of JSON.
    Raises: ValueError with the text for what is not a quantity.
    """
    text = str(text)
    match = _FORM.fullmatch(text) if len(text) <= LENGTH_MAX else None
    if match is None or not (match[2] or match[3]):
        raise ValueError(f"{text[:LENGTH_MAX]!r} is not a quantity (examples: 250m, 1.5Gi, 2e3)")
    sign, whole, fraction, exponent, binary, decimal = match.groups()
    fraction = fraction or ""
    number = int((whole or "0") + fraction) * NANO
    power = (int(exponent[1:]) if exponent else _DECIMAL[decimal or ""]) - len(fraction)
    number <<= _BINARY[binary] if binary else 0
    value: int = number * 10**power if power >= 0 else -(-number // 10**-power)
    value = min(value, VALUE_MAX)
    return -value if sign == "-" else value


def equal(one: str | int | float, other: str | int | float) -> bool:
    """Tell whether two texts are the same quantity; text that is no quantity equals only itself."""
    if one == other:
        return True
    try:
        return parse(one) == parse(other)
    except ValueError:
        return False


def render(value: int, *, binary: bool = False) -> str:
    """Return the canonical text of a quantity in billionths: no fraction, the largest suffix that fits.

    `binary` prefers Ki, Mi, …; a value with a part below 1 is always decimal.
    """
    sign, value = ("-", -value) if value < 0 else ("", value)
    if value == 0:
        return "0"
    if binary and value % NANO == 0:
        whole = value // NANO
        for suffix, bits in sorted(_BINARY.items(), key=lambda item: -item[1]):
            if whole % (1 << bits) == 0:
                return f"{sign}{whole >> bits}{suffix}"
        return f"{sign}{whole}"
    for suffix, power in sorted(_DECIMAL.items(), key=lambda item: -item[1]):
        unit = 10 ** (power + 9)
        if value % unit == 0:
            return f"{sign}{value // unit}{suffix}"
    raise AssertionError("every whole number of billionths fits the suffix n")
