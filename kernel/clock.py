"""Kernel time: nanoseconds since HELLO, from the TSC at gate entries and the ACPI PM timer between them; wall time from the RTC.

Inside a gate call time stands at its `tsc_enter`: no port is read, and all that a call does happens at one instant. Outside, the PM timer tells
how much has passed since the last tick's call, when it was read beside the TSC. The PM timer is 24 or 32 bits wide and wraps after 4.7 s or
20 minutes; ticks read it far more often. Source: ACPI 6.5 section 4.8.2.1 (3.579545 MHz).
"""

from __future__ import annotations

from collections.abc import Callable

PM_TIMER_HZ = 3_579_545
NS = 1_000_000_000
MAX_STEP = 2 * NS               # a TSC further ahead of the PM timer than this is not believed


class Clock:
    """Kernel time. It stands at 0 until it is started, and never goes back.

    Attributes:
        tsc_hz: TSC counts in a second.
        wall_start: wall time at time 0, ns since 1970; 0 until set.
        rebased: how often the TSC was not believed.
    """

    def __init__(self) -> None:
        self.tsc_hz = NS
        self.wall_start = 0
        self.rebased = 0
        self._tsc_start = 0
        self._now = 0
        self._in_gate = True
        self._read_timer: Callable[[], int] | None = None
        self._mask = 0
        self._anchor_ns = self._anchor_count = 0

    def start(self, tsc_hz: int, tsc: int) -> None:
        """Time 0 is when the TSC stood at `tsc`."""
        self.tsc_hz, self._tsc_start = tsc_hz, tsc

    def use_pm_timer(self, read: Callable[[], int], width: int) -> None:
        """Count on a PM timer of 24 or 32 bits from now on."""
        self._read_timer, self._mask = read, (1 << width) - 1
        self._anchor(self._now)

    def at_gate(self, tsc: int, *, resynchronize: bool) -> None:
        """A gate call begins at `tsc`; the PM timer is read beside it if `resynchronize`."""
        when = (tsc - self._tsc_start) * NS // self.tsc_hz
        if resynchronize:
            timed = self._timed()
            if abs(when - timed) > MAX_STEP:
                self.rebased += 1                       # a stopped, set or garbled TSC: go on from the PM timer's time, or where there is none from here
                self._tsc_start = tsc - timed * self.tsc_hz // NS
                when = timed
            self._now = max(self._now, when)
            self._anchor(self._now)
        elif when <= self._now + MAX_STEP:
            self._now = max(self._now, when)
        self._in_gate = True

    def leave_gate(self) -> None:
        """The gate call is over: time runs again."""
        self._in_gate = False

    def now(self) -> int:
        """Nanoseconds since HELLO."""
        if not self._in_gate and self._read_timer is not None:
            self._now = max(self._now, self._timed())
        return self._now

    def lag(self) -> int | None:
        """How long ago, in ns, the moment is at which time stands: inside a gate call what it has taken so far. None without a PM timer."""
        return None if self._read_timer is None else max(0, self._timed() - self._now)

    @property
    def reached(self) -> int:
        """Nanoseconds since HELLO as of the last gate call or reading: what is known without asking the hardware."""
        return self._now

    def wall(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return self.wall_start + self.now()

    def _timed(self) -> int:
        if self._read_timer is None:
            return self._now
        passed = self._read_timer() - self._anchor_count & self._mask
        return self._anchor_ns + passed * NS // PM_TIMER_HZ

    def _anchor(self, when: int) -> None:
        if self._read_timer is not None:
            self._anchor_ns, self._anchor_count = when, self._read_timer()
