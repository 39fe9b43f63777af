from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.loop import MAX_PASSES, NS, KernelLoop


class Bed:
    """A loop and the time it sees."""

    def __init__(self) -> None:
        self.now = 0
        self.woken = 0
        self.readings = 0
        self.loop = KernelLoop(self._exact, lambda: self.now, self._wake)

    def _exact(self) -> int:
        self.readings += 1
        return self.now

    def _wake(self) -> None:
        self.woken += 1

    def advance(self, ns: int) -> None:
        self.now += ns
        self.loop.step()


def test_sleep_is_on_kernel_time() -> None:
    bed = Bed()
    seen: list[float] = []

    async def service() -> None:
        for pause in (0.05, 0.0, 0.01):
            await asyncio.sleep(pause)
            seen.append(bed.loop.time())

    bed.loop.create_task(service())
    for _ in range(10):
        bed.advance(NS // 100)
    assert seen == pytest.approx([0.06, 0.06, 0.07])    # the first step began at 0.01


def test_nothing_ready_asks_nobody() -> None:
    bed = Bed()
    bed.loop.call_later(1.0, lambda: None)
    readings = bed.readings
    for _ in range(100):
        bed.loop.step()
    assert bed.readings == readings


def test_next_deadline() -> None:
    bed = Bed()
    assert bed.loop.next_deadline is None
    bed.loop.call_later(0.25, lambda: None)
    assert bed.loop.next_deadline == NS // 4
    bed.loop.call_soon(lambda: None)
    assert bed.loop.next_deadline == 0


def test_a_chain_of_events_finishes_in_one_step() -> None:
    bed = Bed()
    order: list[int] = []

    async def link(number: int) -> None:
        if number:
            await asyncio.create_task(link(number - 1))
        order.append(number)

    task = bed.loop.create_task(link(10))
    bed.loop.step()
    assert task.done() and order == list(range(11))


def test_a_coroutine_that_never_sleeps_does_not_stop_the_guest() -> None:
    bed = Bed()
    rounds = 0

    async def greedy() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    bed.loop.create_task(greedy())
    bed.loop.step()
    assert rounds == MAX_PASSES and bed.woken == 1
    bed.loop.finish()
    assert bed.loop.is_closed()


def test_a_thread_comes_back_as_an_event_and_wakes_the_machine() -> None:
    bed = Bed()
    release = threading.Event()

    def work() -> str:
        release.wait(5)
        return threading.current_thread().name

    async def service() -> str:
        return await asyncio.to_thread(work)

    task = bed.loop.create_task(service())
    bed.loop.step()
    assert not task.done() and bed.woken == 0
    woken = threading.Event()
    bed.loop._wake = woken.set
    release.set()
    assert woken.wait(5)
    bed.loop.step()
    assert task.result() != threading.current_thread().name
    bed.loop.run_until_complete(bed.loop.shutdown_default_executor()) if not bed.loop.is_closed() else None


def test_timeouts_cancel() -> None:
    bed = Bed()

    async def service() -> str:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "in time"
        return "never"

    task = bed.loop.create_task(service())
    bed.loop.step()
    bed.advance(NS // 100)
    assert not task.done()
    bed.advance(NS // 100)
    assert task.result() == "in time"


def test_finish_lets_services_clean_up() -> None:
    bed = Bed()
    cleaned: list[str] = []

    async def service() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0)
            cleaned.append("yes")

    bed.loop.create_task(service())
    bed.loop.step()
    bed.loop.finish()
    assert cleaned == ["yes"]


def test_an_exception_in_a_callback_is_told_and_the_rest_goes_on() -> None:
    bed = Bed()
    told: list[str] = []
    ran: list[str] = []
    bed.loop.set_exception_handler(lambda loop, context: told.append(repr(context["exception"])))
    bed.loop.call_soon(lambda: 1 // 0)
    bed.loop.call_soon(lambda: ran.append("after"))
    bed.loop.step()
    assert told == ["ZeroDivisionError('integer division or modulo by zero')"] and ran == ["after"]


def test_the_machine_has_no_signals() -> None:
    bed = Bed()
    bed.loop.add_signal_handler(2, lambda: None)
    assert bed.loop.remove_signal_handler(2) is False


@given(st.lists(st.integers(0, 5_000_000_000), max_size=20), st.lists(st.integers(1, 1_000_000_000), max_size=20))
@settings(deadline=None)
def test_timers_run_in_order_when_time_has_come_and_not_before(delays: list[int], steps: list[int]) -> None:
    bed = Bed()
    fired: list[tuple[int, int]] = []

    def timer(delay: int) -> Callable[[], None]:
        return lambda: fired.append((delay, bed.now))

    for delay in delays:
        bed.loop.call_at(delay / NS, timer(delay))
    for step in steps:
        bed.advance(step)
    assert [delay for delay, _now in fired] == sorted(delay for delay, _now in fired)
    assert all(delay <= now + 1 for delay, now in fired)
    assert sorted(delay for delay in delays if delay < bed.now - 1) == [delay for delay, _now in fired if delay < bed.now - 1] or not steps
