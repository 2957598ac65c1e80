from __future__ import annotations

from loft.core import backoff
from loft.core.backoff import Backoff, Failures

POLICY = Backoff(base_s=1.0, cap_s=10.0, factor=2.0, jitter=0.5)


def test_it_doubles_up_to_the_cap() -> None:
    assert [POLICY.delay_s(n, 0.0) for n in (0, 1, 2, 3, 4, 5, 10_000)] == [0.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_jitter_takes_away_at_most_its_share() -> None:
    assert POLICY.delay_s(1, 0.999) > 0.5
    assert POLICY.delay_s(5, 0.5) == 7.5


def test_failures_are_counted_by_key_and_forgotten_on_success() -> None:
    failures = Failures(POLICY)
    assert [failures.failed("a", 0.0), failures.failed("a", 0.0), failures.failed("b", 0.0)] == [1.0, 2.0, 1.0]
    failures.forget("a")
    assert (failures.count("a"), failures.count("b")) == (0, 1)
    assert failures.failed("a", 0.0) == 1.0


def test_the_number_of_keys_is_bounded() -> None:
    failures = Failures(POLICY)
    for index in range(backoff.FAILURES_TRACKED_MAX + 10):
        failures.failed(str(index), 0.0)
    assert failures.count("0") == 0
    assert failures.count(str(backoff.FAILURES_TRACKED_MAX + 9)) == 1
    assert len(failures._counts) == backoff.FAILURES_TRACKED_MAX
