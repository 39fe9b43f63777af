"""Kernel time: nanoseconds since HELLO, from the TSC at gate entries and the ACPI PM timer between them; wall time from the RTC.

Inside a gate call time stands at its `tsc_enter`: no port is read, and all that a call does happens at one instant. Outside, the PM timer tells
how much has passed since the last tick's call, when it was read beside the TSC. The PM timer is 24 or 32 bits wide and wraps after 4.7 s or
20 minutes; ticks read it far more often. Source: ACPI 6.5 section 4.8.2.1 (3.579545 MHz).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from kernel.errors import KernelError

PM_TIMER_HZ = 3_579_545
NS = 1_000_000_000
MAX_STEP = 2 * NS               # a TSC further ahead of the PM timer than this is not believed

CMOS_INDEX, CMOS_DATA = 0x70, 0x71
RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_DAY, RTC_MONTH, RTC_YEAR = 0, 2, 4, 7, 8, 9
RTC_STATUS_A, RTC_STATUS_B = 0x0A, 0x0B
UPDATE_IN_PROGRESS, BINARY_MODE, HOUR_24, PM_BIT = 0x80, 0x04, 0x02, 0x80
RTC_TRIES = 1000


class Clock:
    """Kernel time. It never goes back.

    Args:
        tsc_hz: TSC counts in a second.
        tsc_start: the TSC at time 0.

    Attributes:
        wall_start: wall time at time 0, ns since 1970; 0 until set.
        rebased: how often the TSC was not believed.
    """

    def __init__(self, tsc_hz: int, tsc_start: int) -> None:
        self.tsc_hz = tsc_hz
        self.wall_start = 0
        self.rebased = 0
        self._tsc_start = tsc_start
        self._now = 0
        self._in_gate = True
        self._read_timer: Callable[[], int] | None = None
        self._mask = 0
        self._anchor_ns = self._anchor_count = 0

    def use_pm_timer(self, read: Callable[[], int], width: int) -> None:
        """Count on a PM timer of 24 or 32 bits from now on."""
        self._read_timer, self._mask = read, (1 << width) - 1
        self._anchor(self._now)

    def at_gate(self, tsc: int, *, resynchronize: bool) -> None:
        """A gate call begins at `tsc`; the PM timer is read beside it if `resynchronize`."""
        when = (tsc - self._tsc_start) * NS // self.tsc_hz
        if resynchronize:
            timed = self._timed()
            if abs(when - timed) > MAX_STEP and self._read_timer is not None:
                self.rebased += 1                       # a stopped, set or garbled TSC: go on from the PM timer's time
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


def read_rtc(port_read: Callable[[int, int], int], port_write: Callable[[int, int, int], None], century_register: int) -> int:
    """The RTC's time as ns since 1970, UTC, to the second (MC146818 data sheet; two equal readings outside an update).

    Args:
        century_register: the FADT's CENTURY; 0 = none, years are 2000 to 2099.

    Raises:
        KernelError: the RTC is absent or shows no date.
    """
    def cmos(register: int) -> int:
        port_write(CMOS_INDEX, 1, register)
        return port_read(CMOS_DATA, 1)

    registers = (RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_DAY, RTC_MONTH, RTC_YEAR)
    previous: tuple[int, ...] | None = None
    for _ in range(RTC_TRIES):
        if cmos(RTC_STATUS_A) & UPDATE_IN_PROGRESS:
            continue
        reading = (*(cmos(register) for register in registers), cmos(century_register) if century_register else 0)
        if reading == previous:
            break
        previous = reading
    else:
        raise KernelError("the real-time clock does not settle")
    status = cmos(RTC_STATUS_B)
    second, minute, hour, day, month, year, century = reading
    afternoon = bool(hour & PM_BIT) and not status & HOUR_24
    values = (year, month, day, hour & ~PM_BIT, minute, second, century)
    if not status & BINARY_MODE:
        values = tuple((value >> 4) * 10 + (value & 15) for value in values)
    year, month, day, hour, minute, second, century = values
    if not status & HOUR_24:
        hour = hour % 12 + (12 if afternoon else 0)
    try:
        moment = datetime((century or 20) * 100 + year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise KernelError(f"the real-time clock shows no date: {error}") from error
    return int(moment.timestamp()) * NS
