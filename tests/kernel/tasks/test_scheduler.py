from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.tasks.scheduler import AGING_LIMIT, SECOND, Scheduler, effective_priority
from kernel.tasks.task import Priority, State, Task

TICK = 10_000_000


class Clockwork:
    """A scheduler, its time and its kicks."""

    def __init__(self, cpus: int = 1) -> None:
        self.now = 0
        self.kicked: list[int] = []
        self.scheduler = Scheduler(lambda: self.now, self.kicked.append)
        for cpu in range(cpus):
            self.scheduler.add_cpu(cpu)
        self._ids = 0

    def task(self, priority: int = Priority.NORMAL, pinned: int | None = None) -> Task:
        self._ids += 1
        task = Task(self._ids, f"t{self._ids}", None, 0, priority, pinned)      # type: ignore[arg-type]    # no memory is looked at
        self.scheduler.start(task)
        return task

    def tick(self, cpu: int = 0) -> Task | None:
        """A timer tick, and what runs then."""
        self.now += TICK
        self.scheduler.tick(cpu)
        return self.scheduler.queues[cpu].current or self.scheduler.next(cpu)


def test_equals_take_turns() -> None:
    clock = Clockwork()
    tasks = [clock.task() for _ in range(3)]
    ran = [clock.tick() for _ in range(9)]
    assert ran == tasks * 3


def test_the_higher_priority_runs_and_preempts() -> None:
    clock = Clockwork()
    low, high = clock.task(Priority.LOW), clock.task(Priority.HIGH)
    assert clock.tick() is high
    assert {clock.tick() for _ in range(50)} == {high}
    assert low.state is State.READY


def test_a_low_task_waits_seconds_and_not_for_ever() -> None:
    clock = Clockwork()
    low = clock.task(Priority.LOW)
    clock.task(Priority.NORMAL)
    ticks = next(tick for tick in range(100_000) if clock.tick() is low)
    assert 5 < ticks * TICK / SECOND < 10
    assert clock.tick() is not low                      # its waiting is spent


def test_aging_has_a_limit() -> None:
    clock = Clockwork()
    task = clock.task(Priority.LOW)
    assert effective_priority(task, SECOND) == Priority.LOW
    assert effective_priority(task, 2 * SECOND) == Priority.LOW + 20
    assert effective_priority(task, 1000 * SECOND) == Priority.LOW + AGING_LIMIT


def test_an_idle_cpu_steals_what_may_move() -> None:
    clock = Clockwork(2)
    pinned = [clock.task(pinned=0) for _ in range(3)]
    assert clock.tick(1) is None
    free = clock.task()
    assert free.cpu == 1                                # where least waits
    clock.tick(1)
    clock.tick(0)
    others = [clock.task() for _ in range(2)]
    clock.scheduler.finish(free, State.EXITED)
    got = {clock.scheduler.next(1)}
    clock.scheduler.finish(next(iter(got)), State.EXITED)       # type: ignore[arg-type]
    got.add(clock.scheduler.next(1))
    assert got == set(others)
    assert all(task.cpu == 0 for task in pinned)


def test_a_pinned_task_never_moves() -> None:
    clock = Clockwork(4)
    tasks = [clock.task(pinned=2) for _ in range(5)]
    for _ in range(20):
        for cpu in range(4):
            running = clock.tick(cpu)
            assert (running in tasks) == (cpu == 2)


def test_new_tasks_spread_over_the_cpus_and_wake_them() -> None:
    clock = Clockwork(4)
    tasks = [clock.task() for _ in range(8)]
    assert Counter(task.cpu for task in tasks) == Counter({0: 2, 1: 2, 2: 2, 3: 2})
    assert set(clock.kicked) == {0, 1, 2, 3}


def test_a_busy_home_kicks_an_idle_helper() -> None:
    clock = Clockwork(2)
    busy = clock.task(pinned=0)
    assert clock.tick(0) is busy
    clock.kicked.clear()
    waiting = clock.task(pinned=0)
    assert clock.kicked == []                           # nobody else may run it
    clock.scheduler.finish(waiting, State.EXITED)
    other = clock.task()
    assert other.cpu == 1 and clock.kicked == [1]


def test_waiting_for_a_tick_and_sleeping() -> None:
    clock = Clockwork()
    pulse, sleeper = clock.task(), clock.task()
    assert clock.tick() is pulse
    clock.scheduler.wait_for_tick(0)
    assert clock.scheduler.next(0) is sleeper
    clock.scheduler.sleep_until(0, clock.now + 3 * TICK)
    assert clock.scheduler.next(0) is None
    assert clock.tick() is pulse
    clock.scheduler.wait_for_tick(0)
    assert (pulse.state, sleeper.state) == (State.WAITING, State.SLEEPING)
    assert clock.tick() is pulse
    clock.scheduler.wait_for_tick(0)
    assert clock.tick() in (pulse, sleeper)
    assert sleeper.state in (State.READY, State.RUNNING)


@pytest.mark.parametrize("where", ["running", "ready", "waiting", "sleeping"])
def test_a_task_is_taken_out_wherever_it_is(where: str) -> None:
    clock = Clockwork()
    task = clock.task()
    if where != "ready":
        assert clock.tick() is task
    if where == "waiting":
        clock.scheduler.wait_for_tick(0)
    if where == "sleeping":
        clock.scheduler.sleep_until(0, 5 * TICK)
    clock.scheduler.finish(task, State.KILLED)
    assert all(clock.tick() is None for _ in range(8))
    assert task.state is State.KILLED


@given(st.lists(st.tuples(st.sampled_from(["start", "tick", "yield", "wait", "sleep", "finish"]), st.integers(0, 3), st.integers(0, 255)), max_size=120))
@settings(max_examples=80, deadline=None)
def test_every_living_task_is_in_exactly_one_place(events: list[tuple[str, int, int]]) -> None:
    clock = Clockwork(4)
    living: list[Task] = []
    for what, cpu, number in events:
        queue = clock.scheduler.queues[cpu]
        if what == "start":
            living.append(clock.task(number, number % 4 if number & 1 else None))
        elif what == "finish" and living:
            clock.scheduler.finish(living.pop(number % len(living)), State.EXITED)
        elif queue.current is None or what == "tick":
            clock.tick(cpu)
        elif what == "yield":
            clock.scheduler.give_up(cpu)
        elif what == "wait":
            clock.scheduler.wait_for_tick(cpu)
        elif what == "sleep":
            clock.scheduler.sleep_until(cpu, clock.now + number * TICK)
        places = Counter[Task]()
        for one in clock.scheduler.queues.values():
            places.update([*one.ready, *one.waiting_for_tick, *([one.current] if one.current else [])])
            for task in (*one.ready, *one.waiting_for_tick, *filter(None, [one.current])):
                assert task.may_run_on(one.cpu)
        places.update(task for task in living if task.state is State.SLEEPING)
        assert places == Counter(living)


@given(st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_no_equal_task_gets_much_more_than_another(tasks: int, cpus: int) -> None:
    clock = Clockwork(cpus)
    everyone = [clock.task() for _ in range(tasks * cpus)]
    ran = Counter[int]()
    for _ in range(120):
        for cpu in range(cpus):
            running = clock.tick(cpu)
            assert running is not None
            ran[running.id] += 1
    shares = [ran[task.id] for task in everyone]
    assert max(shares) - min(shares) <= 2 + 120 // tasks // 4
