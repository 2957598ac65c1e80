"""Order of start and stop, and the delays between lives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loft.supervise.process import (
    DELAY_S_MAX,
    DELAY_S_MIN,
    HEALTHY_S,
    BadProcesses,
    Process,
    dependents,
    failures_after,
    restart_delay_s,
    start_order,
)


def _process(name: str, *after: str) -> Process:
    return Process(name=name, argv=["true"], after=after)


def test_each_comes_behind_what_it_needs() -> None:
    processes = [
        _process("kubelet", "api", "containerd"),
        _process("api", "etcd"),
        _process("etcd"),
        _process("containerd"),
    ]
    order = start_order(processes)
    assert sorted(order) == ["api", "containerd", "etcd", "kubelet"]
    for process in processes:
        assert all(order.index(name) < order.index(process.name) for name in process.after)
    assert dependents(processes, "etcd") == ["api"]


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        ([_process("a"), _process("a")], "same name"),
        ([_process("a", "b")], "a comes after b, which is not there"),
        ([_process("a", "b"), _process("b", "a")], "after itself"),
        ([_process("a", "a")], "after itself"),
    ],
)
def test_what_cannot_be_ordered_is_refused(processes: list[Process], message: str) -> None:
    with pytest.raises(BadProcesses, match=message):
        start_order(processes)


@given(st.integers(1, 1000))
def test_delays_grow_within_bounds(failures: int) -> None:
    assert DELAY_S_MIN <= restart_delay_s(failures) <= restart_delay_s(failures + 1) <= DELAY_S_MAX


def test_a_healthy_life_forgives_earlier_failures() -> None:
    assert failures_after(7, HEALTHY_S) == 1
    assert failures_after(7, HEALTHY_S - 1) == 8
    assert restart_delay_s(0) == 0
