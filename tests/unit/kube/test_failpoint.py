from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from loft.kube import failpoint
from loft.kube.errors import Unavailable


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    failpoint.activate("")


def test_nothing_happens_by_default() -> None:
    failpoint.fp("anything")
    asyncio.run(failpoint.failpoint("anything"))
    assert failpoint.passed() == []


def test_errors_delays_and_passes() -> None:
    failpoint.activate("a=error@2, b.*=delay:0.05")
    failpoint.fp("a")
    with pytest.raises(Unavailable):
        failpoint.fp("a")
    failpoint.fp("a")
    began = time.monotonic()
    failpoint.fp("b.one")
    asyncio.run(failpoint.failpoint("b.two"))
    assert time.monotonic() - began >= 0.1
    assert failpoint.passed() == ["a", "b.one", "b.two"]


@pytest.mark.parametrize(
    "text", ["a", "a=", "a=explode", "=crash", "a=delay", "a=delay:x", "a=crash@x", "a=crash@", "a=error:1"]
)
def test_what_injects_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        failpoint.parse(text)
