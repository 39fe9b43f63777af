"""Where long work runs: beside the system in a thread of its own, or at once where a run must be the same bit for bit.

Searching for a command and running its WebAssembly take milliseconds, and up to seconds when they go wrong. Beside the system the vCPUs go on, the
console answers, and Ctrl-C ends the wait. Live sources read device registers and must not be read from another thread: `Held` is their state
at the moment the work began, read on the kernel's loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from kernel.telemetry import Column, Source

LONGEST_END = 5.0              # seconds of the host; a synthesized command is stopped after two
T = TypeVar("T")
Row = tuple[object, ...]


class Beside(Protocol):
    """Runs a function that takes long."""

    async def run(self, work: Callable[[], T]) -> T:
        """The function's result, or its exception."""

    def close(self) -> None:
        """Let the work that is under way be the last."""


class AtOnce:
    """The system stands still meanwhile: with the instruction clock, how long the host took cannot be seen by the guest."""

    async def run(self, work: Callable[[], T]) -> T:
        """The function's result."""
        return work()

    def close(self) -> None:
        """Nothing is under way."""


class Worker:
    """One thread beside the system, made when it is first needed; pieces of work wait for each other.

    Args:
        before: called on the loop before each piece of work, `Held.take`.
        stop: called on the loop when the wait for a piece of work is cancelled; may end that work early.
    """

    def __init__(self, before: Callable[[], None] = lambda: None, stop: Callable[[], None] = lambda: None) -> None:
        self._before, self._stop = before, stop
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """The function's result. Cancelling the wait abandons the work; its result is dropped."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._before()

        def settle(result: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)                    # type: ignore[arg-type]

        def job() -> None:
            if done.cancelled():
                return
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 -- it is raised again where it is awaited
                error = raised
            try:
                loop.call_soon_threadsafe(settle, result, error)          # which also ends the machine's idle wait
            except RuntimeError:                           # the loop is closed: the machine is off, nobody waits
                return

        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shell: beside the system", daemon=True)
            self._thread.start()
        try:
            return await done
        except asyncio.CancelledError:
            self._stop()
            raise

    def close(self) -> None:
        """End the thread when its work is done; waits for that, but not for ever."""
        self._stop()
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(LONGEST_END)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class _HeldSource:
    """One source as it was at the last `take`."""

    def __init__(self, source: Source) -> None:
        self.name, self.doc, self._source = source.name, source.doc, source
        self.columns: tuple[Column, ...] = source.columns
        self._rows: list[Row] | None = None

    def take(self) -> None:
        self._rows = list(self._source.rows())

    def rows(self) -> list[Row]:
        """The rows at the last `take`."""
        if self._rows is None:
            self.take()
        assert self._rows is not None
        return self._rows


class Held(Mapping[str, Source]):
    """Live sources, held still: their rows change at `take` only."""

    def __init__(self, live: Mapping[str, Source]) -> None:
        self._live = live
        self._held: dict[str, _HeldSource] = {}

    def take(self) -> None:
        """Read all sources. Call it on the kernel's loop."""
        for name in self._live:
            self._of(name).take()

    def __getitem__(self, name: str) -> Source:
        return self._of(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._live)

    def __len__(self) -> int:
        return len(self._live)

    def _of(self, name: str) -> _HeldSource:
        source = self._live[name]
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = _HeldSource(source)
        return held
