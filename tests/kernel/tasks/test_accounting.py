from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel.gate import CpuArea
from kernel.tasks.accounting import MAX_GAP, WAY_OUT, CpuTimes
from kernel.tasks.task import Task

HZ = 1000


def area(enter: int, resumed: int) -> CpuArea:
    return CpuArea(0, 0, 0, 3, 0x20, 0, 0, enter, 0, resumed, 0, 0)


def task() -> Task:
    return Task(1, "t", None, 0)        # type: ignore[arg-type]    # no memory is looked at


def test_user_system_and_idle() -> None:
    times, ran = CpuTimes(0, 0, HZ, 100, 100), task()
    times.enter(area(200, 110), ran)
    times.enter(area(300, 220), None)
    assert (times.system, times.user, times.idle) == (30, 90, 80)
    assert ran.user_ns == 90 * 10**9 // HZ
    assert times.load == 1 - 80 / 200
    assert times.ns(1000) == 10**9


def test_a_wait_for_a_turn_behind_the_gate_is_not_system_time() -> None:
    hz = 10**9
    times = CpuTimes(0, 0, hz, 0, 0)
    times.leave(5_000)
    times.enter(area(1_000_000, 900_000), None)
    assert (times.system, times.idle) == (5_000 + WAY_OUT, 975_000)
    times.leave(None)                                   # nobody knows: then the nucleus's word counts
    times.enter(area(2_000_000, 1_900_000), None)
    assert times.system == 25_000 + 900_000
    times.leave(50_000)
    times.enter(area(3_000_000, 2_010_000), None)       # what the nucleus says is less
    assert times.system == 925_000 + 10_000


@given(st.lists(st.tuples(st.integers(0, 1 << 64), st.integers(0, 1 << 64), st.booleans()), max_size=30))
def test_the_three_add_up_whatever_the_guest_says(calls: list[tuple[int, int, bool]]) -> None:
    times, ran = CpuTimes(0, 0, HZ, 5, 5), task()
    for enter, resumed, busy in calls:
        times.enter(area(enter, resumed), ran if busy else None)
        assert times.user + times.system + times.idle == times.elapsed
        assert 0 <= times.load <= 1


def test_the_kernels_services_take_time_from_tasks_and_not_from_idle_cpus() -> None:
    times, ran = CpuTimes(0, 0, 10**9, 0, 0), task()
    times.leave(0, 1000)
    times.enter(area(1_000_000, 0), ran, 401_000)
    assert (times.system, times.user, ran.user_ns) == (400_000, 600_000, 600_000)
    times.leave(0, 401_000)
    times.enter(area(2_000_000, 1_000_000), None, 901_000)
    assert (times.system, times.idle) == (400_000, 1_000_000)
    times.leave(0, 901_000)
    times.enter(area(2_100_000, 2_000_000), ran, 9_901_000)     # more than it can have been
    assert (times.system, times.user) == (500_000, 600_000)


def test_one_garbled_reading_costs_one_stretch() -> None:
    times = CpuTimes(0, 0, HZ, 0, 0)
    times.enter(area((1 << 64) - 1, 3), None)
    assert times.implausible == 1
    times.enter(area(20, 10), None)
    assert times.implausible == 2
    times.enter(area(30, 20), None)
    times.enter(area(40, 30), None)
    assert (times.implausible, times.idle) == (2, 20)


def test_a_machine_that_stood_still_is_not_idle_time() -> None:
    times = CpuTimes(0, 0, HZ, 0, 0)
    times.enter(area(10, 0), None)
    times.enter(area(10 + MAX_GAP * HZ + 1, 10), None)
    assert times.idle == 10 and times.elapsed == 10
