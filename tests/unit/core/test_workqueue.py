from __future__ import annotations

import pytest

from loft.core.workqueue import QueueFull, WorkQueue


def test_a_key_waits_at_most_once_and_first_come_is_first_served() -> None:
    queue = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [queue.get(), queue.get(), queue.get()] == ["a", "b", None]


def test_a_key_added_while_worked_on_comes_again_afterwards() -> None:
    queue = WorkQueue()
    queue.add("a")
    assert queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert queue.get() is None
    queue.done("a")
    assert queue.get() == "a"
    queue.done("a")
    assert queue.get() is None
    assert queue.idle


def test_only_what_was_handed_out_can_be_done() -> None:
    with pytest.raises(ValueError, match="not being worked on"):
        WorkQueue().done("a")


def test_delayed_keys_come_when_their_time_has_come() -> None:
    queue = WorkQueue()
    queue.add_after("late", now=0.0, delay_s=5.0)
    queue.add_after("soon", now=0.0, delay_s=1.0)
    queue.add_after("now", now=0.0, delay_s=0.0)
    assert queue.advance(0.0) == 1.0
    assert queue.get() == "now"
    assert queue.get() is None
    assert queue.advance(1.0) == 5.0
    assert queue.get() == "soon"
    assert queue.advance(6.0) is None
    assert queue.get() == "late"


def test_the_earliest_of_several_dates_counts() -> None:
    queue = WorkQueue()
    queue.add_after("a", now=0.0, delay_s=9.0)
    queue.add_after("a", now=0.0, delay_s=2.0)
    queue.add_after("a", now=0.0, delay_s=5.0)
    assert queue.advance(2.0) is None
    assert queue.get() == "a"
    queue.done("a")
    assert queue.advance(100.0) is None
    assert queue.get() is None, "later dates of the same key are gone with the earliest"


def test_a_date_moved_forward_again_and_again_costs_no_memory() -> None:
    queue = WorkQueue()
    for step in range(10_000):
        queue.add_after("a", now=0.0, delay_s=20_000.0 - step)
    assert len(queue._heap) < 200
    assert queue.advance(0.0) == 20_000.0 - 9_999


def test_more_keys_than_the_limit_are_refused_loudly() -> None:
    queue = WorkQueue(limit=2)
    queue.add("a")
    queue.add_after("b", now=0.0, delay_s=1.0)
    with pytest.raises(QueueFull):
        queue.add("c")
    with pytest.raises(QueueFull):
        queue.add_after("c", now=0.0, delay_s=1.0)
    queue.add("a")
    assert queue.advance(1.0) is None, "a delayed key has its place already"


def test_a_key_added_without_delay_forgets_its_later_date() -> None:
    queue = WorkQueue()
    queue.add_after("a", now=0.0, delay_s=5.0)
    queue.add_after("a", now=0.0, delay_s=0.0)
    assert queue.advance(0.0) is None
    assert queue.get() == "a"
    queue.done("a")
    assert queue.advance(10.0) is None
    assert queue.get() is None
