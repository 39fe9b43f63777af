"""The loop on which every kernel service runs as a coroutine: asyncio, on the machine's time, in steps that never wait.

The machine's run loop calls `step()` between slices of guest execution (docs/decisions: the stepped loop). There are no file descriptors to watch:
what the kernel waits for are interrupts, which come through the gate while the guest runs, timers, which are compared with kernel time as the
guest's ticks advance it, and threads, which arrive through `call_soon_threadsafe` and end the machine's idle wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
NS = 1_000_000_000
MAX_PASSES = 64             # in one step: a coroutine that never sleeps must not stop the guest


class NothingToWatch:
    """The selector of a loop without descriptors: it is asked in each pass and never waits."""

    def select(self, timeout: float | None = None) -> list[Any]:
        """No descriptor is ever ready."""
        return []


class KernelLoop(asyncio.BaseEventLoop):
    """An asyncio loop that is stepped.

    Args:
        now: kernel time in ns, exactly; may cost a port access.
        reached: kernel time in ns as far as it is known without asking the hardware: when the last tick came.
        wake: ends the machine's idle wait; callable from any thread.
    """

    _ready: deque[asyncio.Handle]               # BaseEventLoop's own: what runs in the next pass
    _scheduled: list[asyncio.TimerHandle]       # and its heap of timers

    def __init__(self, now: Callable[[], int], reached: Callable[[], int], wake: Callable[[], None]) -> None:
        super().__init__()
        self._now, self._reached, self._wake = now, reached, wake
        self._selector = NothingToWatch()
        self._clock_resolution = 1 / NS

    def step(self) -> None:
        """Run what is ready and what became due. Costs well below a microsecond when there is nothing."""
        for _ in range(MAX_PASSES):
            if not self.has_work:
                return
            self.stop()                         # documented: with stop() called first, run_forever() makes one pass
            self.run_forever()
        if self._ready:
            self._wake()                        # go on after the next slice, without an idle wait before it

    @property
    def has_work(self) -> bool:
        """Whether a step would run anything."""
        return bool(self._ready or (self._scheduled and self._scheduled[0].when() * NS < self._reached() + 1))      # 1 ns for rounding

    @property
    def next_deadline(self) -> int | None:
        """Kernel time in ns when the loop next has work: 0 = now, None = not before something happens."""
        if self._ready:
            return 0
        return round(self._scheduled[0].when() * NS) if self._scheduled else None

    def time(self) -> float:
        """Kernel time in seconds."""
        return self._now() / NS

    def add_signal_handler(self, sig: int, callback: Callable[[*Arguments], object], *args: *Arguments) -> None:
        """Accepted and never called: the machine has no POSIX signals, and those of the host's process are not its business."""

    def remove_signal_handler(self, sig: int) -> bool:
        """There is none."""
        return False

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list

    def _write_to_self(self) -> None:
        self._wake()

    def __del__(self) -> None:
        """Nothing of the host's is held, so a loop that is merely forgotten deserves no warning."""

    def finish(self) -> None:
        """Cancel every coroutine, let each clean up, and close."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        for _ in range(MAX_PASSES):
            if not self._ready:
                break
            self.stop()
            self.run_forever()
        self.close()
