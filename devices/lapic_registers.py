"""The registers of a local APIC and its state; `lapic.py` is the device, `lapic_timer.py` its timer.

Intel SDM vol. 3A (order 253668), "Advanced programmable interrupt controller": chapter 10 up to revision 078, whose clause numbers are used here, 11 since.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from devices.apic_bus import DeliveryMode
from devices.core.registers import RO, WO, Field, Layout, Partial, Register

PAGE = 0x1000
VERSION_RESET = 1 << 24 | 5 << 16 | 0x14
LVT_RESET = 0x00010000                     # masked
LOWEST_VECTOR = 16                         # 10.5.2: below are the processor's own exceptions


class Shorthand(enum.IntEnum):
    """10.6.1, "Destination shorthand"."""

    NONE = 0
    SELF = 1
    ALL = 2
    OTHERS = 3


class TimerMode(enum.IntEnum):
    """10.5.1, bit 17 of the timer's local vector."""

    ONE_SHOT = 0
    PERIODIC = 1


_VECTOR = Field("VECTOR", (7, 0))
_MODE = Field("DELIVERY_MODE", (10, 8), enum=DeliveryMode)
_STATUS = Field("DELIVERY_STATUS", 12, RO, doc="1: send pending")
_MASK = Field("MASK", 16)
_PIN = (_VECTOR, _MODE, _STATUS, Field("POLARITY", 13, doc="kept; inputs carry logical levels"), Field("REMOTE_IRR", 14, RO, doc="accepted, no EOI yet"),
        Field("TRIGGER", 15, doc="1: level"), _MASK)

ICR_LOW = Register("ICR_LOW", 0x300, 4, fields=(
    _VECTOR, _MODE, Field("LOGICAL", 11), _STATUS, Field("LEVEL", 14, doc="0: de-assert"), Field("TRIGGER", 15, doc="1: level"),
    Field("SHORTHAND", (19, 18), enum=Shorthand),
), doc="interrupt command; a write sends")
SVR = Register("SVR", 0xF0, 4, reset=0xFF, fields=(
    Field("VECTOR", (7, 0), doc="spurious"), Field("ENABLE", 8, doc="software enable"), Field("FOCUS", 9, doc="focus checking off"),
    Field("EOI_SUPPRESS", 12, doc="no EOI broadcasts"),
), doc="spurious interrupt vector")
LVT_TIMER = Register("LVT_TIMER", 0x320, 4, reset=LVT_RESET, fields=(_VECTOR, _STATUS, _MASK, Field("MODE", 17, enum=TimerMode)), doc="timer")
DIVIDE = Register("DIVIDE", 0x3E0, 4, fields=(Field("LOW", (1, 0)), Field("HIGH", 3)), doc="timer divider, figure 10-10")

MASKED, PERIODIC, REMOTE_IRR, LEVEL_TRIGGERED = _MASK.mask, LVT_TIMER["MODE"].mask, 1 << 14, 1 << 15
ENABLE, EOI_SUPPRESS = SVR["ENABLE"].mask, SVR["EOI_SUPPRESS"].mask


class ApicError(enum.IntFlag):
    """10.5.3, the bits of ESR that a Pentium 4 and later set."""

    SEND_ILLEGAL_VECTOR = 1 << 5
    RECEIVE_ILLEGAL_VECTOR = 1 << 6
    ILLEGAL_REGISTER = 1 << 7


REGISTERS = Layout("registers", PAGE, (
    Register("ID", 0x020, 4, fields=(Field("ID", (31, 24)),), doc="APIC id"),
    Register("VERSION", 0x030, 4, RO, VERSION_RESET, (
        Field("VERSION", (7, 0)), Field("MAX_LVT", (23, 16), doc="local vectors - 1"), Field("EOI_SUPPRESS", 24, doc="SVR can suppress EOI broadcasts")),
        doc="version"),
    Register("TPR", 0x080, 4, fields=(Field("PRIORITY", (7, 0)),), doc="task priority"),
    Register("APR", 0x090, 4, RO, doc="arbitration priority"),
    Register("PPR", 0x0A0, 4, RO, doc="processor priority"),
    Register("EOI", 0x0B0, 4, WO, doc="end of interrupt"),
    Register("RRD", 0x0C0, 4, RO, doc="remote read, gone since the Pentium 4"),
    Register("LDR", 0x0D0, 4, fields=(Field("LOGICAL_ID", (31, 24)),), doc="logical destination"),
    Register("DFR", 0x0E0, 4, reset=0xFFFFFFFF, fields=(Field("ONES", (27, 0), RO), Field("MODEL", (31, 28), doc="0xF flat, 0 cluster")),
             doc="destination format"),
    SVR,
    Register("ISR", 0x100, 4, RO, count=8, stride=0x10, doc="in service"),
    Register("TMR", 0x180, 4, RO, count=8, stride=0x10, doc="level triggered"),
    Register("IRR", 0x200, 4, RO, count=8, stride=0x10, doc="requested"),
    Register("ESR", 0x280, 4, doc="errors; a write latches those since the last"),
    ICR_LOW,
    Register("ICR_HIGH", 0x310, 4, fields=(Field("DESTINATION", (31, 24)),), doc="interrupt command, destination"),
    LVT_TIMER,
    Register("LVT_THERMAL", 0x330, 4, reset=LVT_RESET, fields=(_VECTOR, _MODE, _STATUS, _MASK), doc="thermal sensor"),
    Register("LVT_PERFORMANCE", 0x340, 4, reset=LVT_RESET, fields=(_VECTOR, _MODE, _STATUS, _MASK), doc="performance counters"),
    Register("LVT_LINT", 0x350, 4, reset=LVT_RESET, count=2, stride=0x10, fields=_PIN, doc="local interrupt pin"),
    Register("LVT_ERROR", 0x370, 4, reset=LVT_RESET, fields=(_VECTOR, _STATUS, _MASK), doc="errors"),
    Register("INITIAL_COUNT", 0x380, 4, doc="timer; a write starts"),
    Register("CURRENT_COUNT", 0x390, 4, RO, doc="timer"),
    DIVIDE,
), Partial.WHOLE)


@dataclass
class State:
    """`requests`, `in_service` and `level_triggered` are IRR, ISR and TMR as one number of 256 bits each."""

    id: int = 0
    tpr: int = 0
    ldr: int = 0
    dfr: int = 0xFFFFFFFF
    svr: int = 0xFF
    icr_low: int = 0
    icr_high: int = 0
    lvt_timer: int = LVT_RESET
    lvt_thermal: int = LVT_RESET
    lvt_performance: int = LVT_RESET
    lvt_lint: list[int] = field(default_factory=lambda: [LVT_RESET] * 2)
    lvt_error: int = LVT_RESET
    initial_count: int = 0
    divide: int = 0
    requests: int = 0
    in_service: int = 0
    level_triggered: int = 0
    errors: int = 0                        # as ESR reads
    new_errors: int = 0                    # since ESR was written last
    pins: list[bool] = field(default_factory=lambda: [False] * 2)
    external: bool = False                 # an ExtINT message is waiting for its acknowledge cycle
    hardware_enabled: bool = True          # IA32_APIC_BASE.EN
    turn: int = 0                          # among equals in lowest-priority delivery
    base: int = 0                          # the timer's count at `epoch`; 0: stopped
    epoch: int = 0                         # ns
    due: int | None = None                 # ns at which the timer interrupts next
