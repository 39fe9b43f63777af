"""How a run of the machine ended, and what it cost."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ExitReason(enum.Enum):
    """Why the machine stands."""

    POWER_OFF = "power off"                 # the guest entered S5
    CONDITION = "condition"                 # what the caller waited for is true
    BREAK = "breakpoint"                    # a processor came to a breakpoint or touched a watchpoint
    DEBUG_EXIT = "debug exit"               # the guest wrote to port 0xF4
    RESET = "reset"                         # the guest asked for one, and the machine is not to reboot
    SHUTDOWN = "triple fault"               # the same, by a fault while a double fault was delivered
    TIMEOUT = "timeout"
    STOPPED = "stopped"                     # the user left
    DEAD = "dead"                           # every processor is halted and nothing can wake one


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run; `value` is what was written to port 0xF4."""

    reason: ExitReason
    value: int = 0
    detail: str = ""
