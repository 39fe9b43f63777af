"""Virtual time: one clock for a whole machine, a heap of deadlines, and three sources that time can come from.

Nothing ticks. A timer chip is a pure function of `now` and of what was programmed; it sets a deadline only where something outside of it
must happen at a moment. All times are integers, nanoseconds of virtual time since power-on. This is the only file of the project that
imports `time`.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import Protocol

SECOND = 1_000_000_000                    # ns
PICOSECONDS = 1_000                       # in a nanosecond
BURST = 4096                              # most deadlines that one `run_due` runs: an action that re-arms itself in the past cannot hang the host


def host_time() -> int:
    """The host's monotonic clock, ns from an arbitrary start: for limits that a user sets in seconds of their own time."""
    return time.monotonic_ns()


def wall_time() -> int:
    """The host's calendar time, ns since 1970-01-01 UTC: what a real-time clock is set to at power-on."""
    return time.time_ns()


def cycles(now: int, hertz: int) -> int:
    """Whole cycles of a `hertz` oscillator that began at 0 ns, at `now` ns."""
    return now * hertz // SECOND


def cycle_start(cycle: int, hertz: int) -> int:
    """The first ns at which `cycles(ns, hertz)` is `cycle`."""
    return -(-cycle * SECOND // hertz)


class TimeSource(Protocol):
    """Where virtual time comes from; never goes back."""

    def now(self) -> int: ...


class HostTime:
    """Virtual time that passes as the host's monotonic clock does, from `start` ns on. For people."""

    def __init__(self, start: int = 0) -> None:
        self._origin = time.monotonic_ns() - start

    def now(self) -> int:
        """Nanoseconds since power-on."""
        return time.monotonic_ns() - self._origin

    def save(self) -> int:
        """What `restore` takes."""
        return self.now()

    def restore(self, saved: int) -> None:
        """Go on from a saved moment."""
        self._origin = time.monotonic_ns() - saved


class InstructionTime:
    """Virtual time that passes by retired instructions alone: the same run, bit for bit, on every host. Advanced by the engine.

    Args:
        picoseconds: what one retired instruction lasts; 8000 makes a processor that retires 125 million a second.
        start: ns at which time begins.

    Attributes:
        in_slice: asked how many instructions of the slice under way are retired already, so that a loop that polls a timer sees time pass.
    """

    def __init__(self, picoseconds: int = 8000, start: int = 0) -> None:
        self.picoseconds = picoseconds
        self.in_slice: Callable[[], int] = lambda: 0
        self._elapsed = start * PICOSECONDS

    def now(self) -> int:
        """Nanoseconds since power-on."""
        return (self._elapsed + self.in_slice() * self.picoseconds) // PICOSECONDS

    def instructions_until(self, when: int) -> int:
        """How many more instructions must retire until `now` is `when` ns; 0 if it is past."""
        return max(0, -(-(when * PICOSECONDS - self._elapsed) // self.picoseconds) - self.in_slice())

    def retire(self, instructions: int) -> None:
        """The engine retired so many instructions."""
        self._elapsed += instructions * self.picoseconds

    def save(self) -> int:
        """What `restore` takes: picoseconds, so that nothing is rounded. Between slices only."""
        return self._elapsed

    def restore(self, saved: int) -> None:
        """Go on from a saved moment."""
        self._elapsed = saved

    def skip_to(self, when: int) -> None:
        """Every processor halts: time jumps to `when` ns, never back."""
        self._elapsed = max(self._elapsed, when * PICOSECONDS)


class ManualTime:
    """Virtual time that passes when a test says so."""

    def __init__(self, start: int = 0) -> None:
        self._now = start

    def now(self) -> int:
        """Nanoseconds since power-on."""
        return self._now

    def advance(self, ns: int) -> None:
        """Let `ns` pass. Deadlines run when somebody calls `VirtualClock.run_due`."""
        if ns < 0:
            raise ValueError(f"time does not go back: {ns} ns")
        self._now += ns


class Deadline:
    """A moment at which an action is to run, once."""

    __slots__ = ("_action", "when")

    def __init__(self, when: int, action: Callable[[], None]) -> None:
        self.when = when
        self._action: Callable[[], None] | None = action

    @property
    def pending(self) -> bool:
        """True until it ran or was cancelled."""
        return self._action is not None

    def cancel(self) -> None:
        """Never run it. Cancelling what ran already is allowed and does nothing."""
        self._action = None

    def run(self) -> bool:
        """Run the action unless it ran or was cancelled; True if it ran."""
        action, self._action = self._action, None
        if action is None:
            return False
        action()
        return True


class VirtualClock:
    """The one clock of a machine.

    Attributes:
        source: where time comes from.
        now: ns of virtual time; the source's own method, because every timer chip asks it on each access.
        on_earlier: told the moment of a deadline that was set earlier than all others, so that a running slice can be cut short.
    """

    def __init__(self, source: TimeSource) -> None:
        self.source = source
        self.now: Callable[[], int] = source.now
        self.on_earlier: Callable[[int], None] | None = None
        self._heap: list[tuple[int, int, Deadline]] = []
        self._sequence = 0                # deadlines of one moment run in the order they were set

    def at(self, when: int, action: Callable[[], None]) -> Deadline:
        """Run `action` at `when` ns, or at the next `run_due` if that is past."""
        deadline = Deadline(when, action)
        earliest = self.next_deadline()
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, deadline))
        if self.on_earlier is not None and (earliest is None or when < earliest):
            self.on_earlier(when)
        return deadline

    def next_deadline(self) -> int | None:
        """When the earliest pending deadline is, None if there is none."""
        heap = self._heap
        while heap:
            if heap[0][2].pending:
                return heap[0][0]
            heapq.heappop(heap)
        return None

    def clear(self) -> None:
        """Forget every deadline: the chips that set them are about to be restored, and set them anew."""
        for _when, _sequence, deadline in self._heap:
            deadline.cancel()
        self._heap.clear()

    def run_due(self) -> int:
        """Run what is due by now, in order of time. What an action sets for a moment that is past already runs too, up to `BURST` in all.

        Returns:
            How many actions ran.
        """
        heap = self._heap
        if not heap:
            return 0
        now = self.now()
        ran = 0
        while heap and heap[0][0] <= now and ran < BURST:
            ran += heapq.heappop(heap)[2].run()
        return ran
