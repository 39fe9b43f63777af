from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import MAX_STEP, NS, PM_TIMER_HZ, Clock


class Timer:
    """A PM timer that a test sets; it counts readings."""

    def __init__(self, width: int = 24) -> None:
        self.now = 0
        self.readings = 0
        self.width = width

    def __call__(self) -> int:
        self.readings += 1
        return self.now * PM_TIMER_HZ // NS & (1 << self.width) - 1


def started(width: int = 24) -> tuple[Clock, Timer]:
    clock, timer = Clock(), Timer(width)
    clock.start(NS, 1000)
    clock.use_pm_timer(timer, width)
    return clock, timer


def test_time_stands_at_zero_until_started() -> None:
    assert Clock().now() == 0 and Clock().reached == 0


def test_inside_a_call_time_stands_and_no_port_is_read() -> None:
    clock, timer = started()
    clock.at_gate(1000 + 5_000_000, resynchronize=False)
    readings = timer.readings
    timer.now = 7_000_000
    assert clock.now() == clock.now() == 5_000_000 and timer.readings == readings


def test_between_calls_the_pm_timer_tells() -> None:
    clock, timer = started()
    timer.now = 10_000_000
    clock.at_gate(1000 + 10_000_000, resynchronize=True)
    clock.leave_gate()
    timer.now = 13_000_000
    assert abs(clock.now() - 13_000_000) < 300
    assert clock.reached == clock.now()


def test_the_pm_timer_wraps() -> None:
    clock, timer = started(24)
    for tick in range(1, 1000):
        timer.now = tick * 10_000_000
        clock.at_gate(1000 + timer.now, resynchronize=True)
    clock.leave_gate()
    timer.now += 4 * NS
    assert abs(clock.now() - timer.now) < 1000


def test_a_tsc_that_is_set_is_not_believed() -> None:
    clock, timer = started()
    timer.now = 10_000_000
    clock.at_gate(1000 + 10_000_000, resynchronize=True)
    timer.now = 20_000_000
    clock.at_gate(77 * NS, resynchronize=True)
    assert clock.rebased == 1 and abs(clock.now() - 20_000_000) < 300
    timer.now = 30_000_000
    clock.at_gate(77 * NS + 10_000_000, resynchronize=True)
    assert clock.rebased == 1 and abs(clock.now() - 30_000_000) < 1000


def test_without_a_pm_timer_a_leap_is_not_believed_either() -> None:
    clock = Clock()
    clock.start(NS, 0)
    clock.at_gate(10_000_000, resynchronize=True)
    clock.at_gate((1 << 64) - 1, resynchronize=True)
    clock.leave_gate()
    assert clock.now() == 10_000_000


def test_wall_time() -> None:
    clock, _timer = started()
    clock.wall_start = 1_000 * NS
    clock.at_gate(1000 + NS // 2, resynchronize=False)
    assert clock.wall() == 1_000 * NS + NS // 2


@given(st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.booleans(), st.integers(0, 10**9), st.booleans()), max_size=40))
def test_it_never_goes_back_and_never_leaps(events: list[tuple[int, bool, int, bool]]) -> None:
    clock, timer = started(32)
    last = 0
    for tsc, tick, passed, leave in events:
        timer.now += passed
        clock.at_gate(tsc, resynchronize=tick)
        if leave:
            clock.leave_gate()
        now = clock.now()
        assert last <= now <= timer.now + (len(events) + 1) * MAX_STEP
        last = now
