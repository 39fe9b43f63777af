"""The timer of a local APIC: a count that is a function of time, and a deadline where it interrupts.

Intel SDM vol. 3A, 10.5.4 "APIC timer" (revision 078). A periodic timer keeps to its grid however late its deadlines run: what a processor could not have
seen one by one is one interrupt, as it would merge in IRR, and the current count is always exact.
"""

from __future__ import annotations

from collections.abc import Callable

from devices.core.clock import SECOND, Deadline, VirtualClock
from devices.lapic_registers import MASKED, PERIODIC, State

DIVIDERS = (2, 4, 8, 16, 32, 64, 128, 1)   # figure 10-10, by bits 3, 1, 0
CATCH_UP = 10_000                          # ns: a periodic timer with a period below this interrupts this often, for several expiries at once


class LapicTimer:
    """The timer's part of a local APIC.

    Args:
        state: the APIC's; the timer is all of `base`, `epoch`, `due`, and reads `initial_count`, `divide`, `lvt_timer`.
        clock: virtual time.
        hz: what is counted, before the divider.
        expired: called for each interrupt.
    """

    def __init__(self, state: State, clock: VirtualClock, hz: int, expired: Callable[[], None]) -> None:
        self._state = state
        self._clock = clock
        self._hz = hz
        self._expired = expired
        self._deadline: Deadline | None = None
        self._unit = SECOND * DIVIDERS[0]  # ns * Hz a count lasts

    # --- what the registers do -----------------------------------------------------------------------------------------------------
    def load(self, count: int) -> None:
        """Start at `count`; 0 stops."""
        state = self._state
        now = self._clock.now()
        state.base, state.epoch = count, now
        self._arm(now - (-count * self._unit // self._hz) if count and not state.lvt_timer & MASKED else None)

    def mode_changed(self, old: int) -> None:
        """The local vector was `old`; the count goes on from where it is."""
        state = self._state
        if (state.lvt_timer ^ old) & PERIODIC:
            self._rebase(old)
        self.reschedule()

    def divider_changed(self, old: int) -> None:
        """The divide register was `old`; the count goes on from where it is."""
        self._unit = SECOND * _divider(old)
        self._rebase(self._state.lvt_timer)
        self._unit = SECOND * _divider(self._state.divide)
        self.reschedule()

    def count(self) -> int:
        """The current count."""
        return self._count(self._clock.now(), self._state.lvt_timer)

    def reschedule(self) -> None:
        """The deadline of the next expiry, if that would interrupt."""
        self._arm(self._next(self._clock.now()))

    def restart(self) -> None:
        """The state has been replaced as a whole: set its deadline."""
        self._unit = SECOND * _divider(self._state.divide)
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if self._state.due is None else self._clock.at(self._state.due, self._fire)

    # --- time ------------------------------------------------------------------------------------------------------------------------
    def _ticks(self, now: int) -> int:
        return (now - self._state.epoch) * self._hz // self._unit

    def _count(self, now: int, entry: int) -> int:
        state = self._state
        ticks = self._ticks(now)
        if ticks < state.base:
            return state.base - ticks
        if not state.base or not entry & PERIODIC or not state.initial_count:
            return 0
        return state.initial_count - (ticks - state.base) % state.initial_count

    def _rebase(self, entry: int) -> None:
        now = self._clock.now()
        self._state.base, self._state.epoch = self._count(now, entry), now

    def _next(self, after: int) -> int | None:
        """The first expiry after a moment, None if it does not come or would not interrupt."""
        state = self._state
        if not state.base or state.lvt_timer & MASKED:
            return None
        ticks, at = self._ticks(after), state.base
        if ticks >= at:
            period = state.initial_count
            if not state.lvt_timer & PERIODIC or not period:
                return None
            at += ((ticks - at) // period + 1) * period
        return state.epoch - (-at * self._unit // self._hz)

    def _arm(self, due: int | None) -> None:
        if due == self._state.due:
            return
        self._state.due = due
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if due is None else self._clock.at(due, self._fire)

    def _fire(self) -> None:
        state = self._state
        self._deadline = state.due = None
        if state.lvt_timer & PERIODIC:
            short = state.initial_count * self._unit < CATCH_UP * self._hz
            self._arm(self._next(self._clock.now() + (CATCH_UP if short else 0)))
        self._expired()


def _divider(divide: int) -> int:
    return DIVIDERS[divide >> 1 & 4 | divide & 3]
