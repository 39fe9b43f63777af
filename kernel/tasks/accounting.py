"""Where each CPU's time went: user, system and idle, from the TSC at both ends of every gate call.

Between `tsc_enter` and `tsc_resume` of one call the CPU was in the kernel; between that `tsc_resume` and the next `tsc_enter` it ran what was
resumed. The three therefore add up to the time since the CPU came online, exactly. A virtual CPU may lose its turn on the way out of the gate, and
far more often there than anywhere else: a stop that was asked for during the call takes effect behind it. That wait is not the kernel's time, so the
kernel says when it was done (`leave`). While the kernel's services run, no CPU does: for one with a task that is the kernel's time, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernel.gate import CpuArea
from kernel.tasks.task import Task

NS = 1_000_000_000
WAY_OUT = 20_000        # ns: from the kernel's answer to what it resumes; whatever exceeds it was a wait for a turn
MAX_GAP = 60            # seconds between two calls of a CPU that ticks 100 times a second


@dataclass(slots=True)
class CpuTimes:
    """Accounts of one CPU, in TSC counts."""

    cpu: int
    lapic_id: int
    tsc_hz: int
    online_at: int
    entered_at: int
    user: int = 0
    system: int = 0
    idle: int = 0
    interrupts: int = 0
    syscalls: int = 0
    exceptions: int = 0
    implausible: int = 0
    left_at: int | None = None
    served_at: int = 0

    def enter(self, area: CpuArea, resumed: Task | None, served: int = 0) -> None:
        """Account for the time since the last call, in which `resumed` ran (None = idle); `served` ns in all have gone to the kernel's services."""
        resumed_at, now = area.tsc_resume, area.tsc_enter
        if self.left_at is not None:
            resumed_at = min(resumed_at, self.left_at)
        if not self.entered_at <= resumed_at <= now <= self.entered_at + MAX_GAP * self.tsc_hz:
            self.implausible += 1                       # set back, garbled, or the machine stood still: this stretch counts for nothing
            self.online_at += now - self.entered_at
            self.entered_at = now
            return
        self.system += resumed_at - self.entered_at
        ran = now - resumed_at
        if resumed is None:
            self.idle += ran
        else:
            away = min(ran, max(0, served - self.served_at) * self.tsc_hz // NS)
            self.system += away
            self.user += ran - away
            resumed.user_ns += (ran - away) * NS // self.tsc_hz
        self.entered_at = now

    def leave(self, lag: int | None, served: int = 0) -> None:
        """The call has been answered, `lag` ns after it came; None = nobody knows."""
        self.served_at = served
        self.left_at = None if lag is None else self.entered_at + (lag + WAY_OUT) * self.tsc_hz // NS

    @property
    def elapsed(self) -> int:
        """TSC counts since the CPU came online, up to its last call."""
        return self.entered_at - self.online_at

    @property
    def load(self) -> float:
        """The part of the time that was not idle, 0..1."""
        return 1 - self.idle / self.elapsed if self.elapsed else 0.0

    def ns(self, counts: int) -> int:
        """TSC counts as nanoseconds."""
        return counts * NS // self.tsc_hz
