"""Long work: beside the system, or at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kernel.telemetry import LiveSource, Row
from jit_synth import CommandStopped, StopKind
from jit_synth.runtime import Limits, interrupt
from shell.beside import AtOnce, Held, Worker
from tests.jit_synth.test_runtime import CPUS, NUMBER, program
from tests.shell.bench import columns


def test_at_once() -> None:
    assert asyncio.run(AtOnce().run(lambda: threading.current_thread() is threading.main_thread()))


def test_a_worker_runs_elsewhere_and_brings_the_result_back() -> None:
    before: list[bool] = []
    worker = Worker(before=lambda: before.append(threading.current_thread() is threading.main_thread()))

    async def run() -> list[str]:
        return [await worker.run(lambda: threading.current_thread().name) for _ in range(2)]

    first, second = asyncio.run(run())
    assert first == second != threading.main_thread().name
    assert before == [True, True], "on the loop, before each"


def test_closing_waits_for_what_is_under_way() -> None:
    gate, done = threading.Event(), list[bool]()
    worker = Worker(stop=gate.set)

    async def run() -> None:
        waiting = asyncio.ensure_future(worker.run(lambda: done.append(gate.wait(10))))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(run())
    worker.close()
    assert done in ([True], []), "it ran to its end, or was withdrawn before it began"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shell: beside") and thread is worker._thread]
    Worker().close()
    AtOnce().close()


def test_errors_come_back() -> None:
    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(Worker().run(fail))


def test_a_cancelled_wait_ends_at_once_and_tells_the_work() -> None:
    gate, started = threading.Event(), threading.Event()
    worker = Worker(stop=gate.set)

    def work() -> bool:
        started.set()
        return gate.wait(10)

    async def run() -> str:
        first = asyncio.ensure_future(worker.run(work))
        waiting = asyncio.ensure_future(worker.run(lambda: "never runs"))
        await asyncio.to_thread(started.wait, 10)
        waiting.cancel()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await worker.run(lambda: "next")

    assert asyncio.run(run()) == "next" and gate.is_set()


def test_cancelling_the_wait_stops_a_module_that_does_not_end() -> None:
    started = threading.Event()
    endless = program("(loop (br 0))", limits=Limits(fuel=1 << 60, seconds=60.0))
    ended: list[StopKind] = []

    def work() -> None:
        started.set()
        try:
            endless.run(NUMBER, lambda name: CPUS, None)
        except CommandStopped as stop:
            ended.append(stop.kind)

    def stop_until_it_ends() -> None:                      # the module may not have begun when `started` is set
        while not ended and thread.is_alive():
            interrupt()
            thread.join(0.01)

    worker = Worker(stop=stop_until_it_ends)

    async def run() -> str:
        nonlocal thread
        first = asyncio.ensure_future(worker.run(work))
        await asyncio.to_thread(started.wait, 10)
        assert worker._thread is not None
        thread = worker._thread
        first.cancel()
        return await worker.run(lambda: "next")

    thread = threading.current_thread()
    assert asyncio.run(run()) == "next" and ended == [StopKind.INTERRUPTED]


def test_a_result_that_comes_after_the_end_is_dropped() -> None:
    gate = threading.Event()
    worker = Worker()

    async def leave() -> None:
        asyncio.ensure_future(worker.run(lambda: gate.wait(10))).cancel()
        task = asyncio.ensure_future(worker.run(lambda: gate.wait(10)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(worker.run(lambda: 3)) == 3, "the thread outlives a closed loop"


def test_held_sources_change_at_take_only() -> None:
    rows: list[Row] = [(1,)]
    reads: list[int] = []

    def read() -> list[Row]:
        reads.append(1)
        return rows

    live = {"a": LiveSource("a", "doc", columns("id INTEGER"), read)}
    held = Held(live)  # type: ignore[arg-type]
    source = held["a"]
    assert (list(held), len(held), source.name, source.columns) == (["a"], 1, "a", live["a"].columns)
    assert source.rows() == [(1,)] and len(reads) == 1
    rows.append((2,))
    assert source.rows() == [(1,)] and len(reads) == 1
    held.take()
    assert source.rows() == [(1,), (2,)] and held["a"] is source
    live["b"] = live["a"]
    held.take()
    assert set(held) == {"a", "b"}
    with pytest.raises(KeyError):
        held["c"]
