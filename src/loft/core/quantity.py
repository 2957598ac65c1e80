"""Kubernetes quantities (`500m`, `1Gi`, `2e3`) as exact numbers. Source: resource.Quantity's grammar."""

from __future__ import annotations

import re
from decimal import Decimal

_FORM = re.compile(
    r"^([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:([eE][+-]?[0-9]{1,3})|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?$"
)
_SCALE = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3), "M": Decimal(10**6),
    "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip


def parse(text: str | int | float) -> Decimal:
    """Return the value of a quantity in its base unit (cores, bytes).

    Raises: ValueError when it is not a quantity.
    """
    match = _FORM.match(str(text))
    if not match:
        raise ValueError(f"{text!r} is not a quantity; use for example 500m, 1.5 or 2Gi")
    number = Decimal(match[1])
    if match[2]:
        return number * Decimal(f"1{match[2]}")
    return number * _SCALE.get(match[3] or "", Decimal(1))
