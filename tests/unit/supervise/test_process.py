"""The rules of order and of restarting, as tables."""

import pytest

from loft.supervise.process import (
    DELAY_S_MAX,
    HEALTHY_S,
    BadProcesses,
    Process,
    dependents,
    failures_after,
    restart_delay_s,
    start_order,
)


def process(name, *after):
    return Process(name=name, argv=("true",), after=after)


def test_each_process_starts_behind_all_it_comes_after():
    order = start_order([process("c", "b", "a"), process("b", "a"), process("a")])
    assert order == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("processes", "says"),
    [
        ([process("a"), process("a")], "same name"),
        ([process("a", "x")], "x, which is not there"),
        ([process("a", "b"), process("b", "a")], "comes after itself"),
        ([process("a", "a")], "comes after itself"),
    ],
)
def test_what_cannot_be_ordered_is_refused(processes, says):
    with pytest.raises(BadProcesses, match=says):
        start_order(processes)


def test_who_stops_before_whom():
    processes = [process("etcd"), process("api", "etcd"), process("kubelet", "api")]
    assert dependents(processes, "etcd") == ["api"]
    assert dependents(processes, "kubelet") == []


def test_delays_double_up_to_a_limit_and_begin_anew_after_a_healthy_time():
    delays = [restart_delay_s(count) for count in range(1, 10)]
    assert delays[:3] == [0.5, 1.0, 2.0]
    assert delays[-1] == DELAY_S_MAX
    assert restart_delay_s(10_000) == DELAY_S_MAX
    assert failures_after(7, HEALTHY_S) == 1
    assert failures_after(7, HEALTHY_S - 1) == 8
