"""Guessing is slowed down; who knows the password is not kept out for long."""

from __future__ import annotations

from loft.web.throttle import ACCOUNT, PAIR, Throttle


def test_a_pair_waits_longer_with_each_failure() -> None:
    throttle = Throttle()
    for _ in range(PAIR.free - 1):
        throttle.failed("anna", "1.1.1.1", 0.0)
    assert throttle.wait_s("anna", "1.1.1.1", 0.0) == 0.0
    throttle.failed("anna", "1.1.1.1", 0.0)
    assert throttle.wait_s("anna", "1.1.1.1", 0.0) == 1.0
    throttle.failed("anna", "1.1.1.1", 0.0)
    assert throttle.wait_s("anna", "1.1.1.1", 0.0) == 2.0
    assert throttle.wait_s("anna", "2.2.2.2", 0.0) == 0.0


def test_many_addresses_together_delay_an_account_for_a_moment_only() -> None:
    throttle = Throttle()
    for number in range(500):
        throttle.failed("anna", f"10.0.{number // 250}.{number % 250}", 0.0)
    assert 0.0 < throttle.wait_s("anna", "9.9.9.9", 0.0) <= ACCOUNT.most_s
    assert throttle.wait_s("anna", "9.9.9.9", ACCOUNT.most_s) == 0.0
