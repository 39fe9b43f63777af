"""MC146818 real-time clock with 128 bytes of CMOS memory, behind ports 0x70 and 0x71.

Specification: Motorola MC146818A data sheet (ADI1197, 1988), "Address Map", "Time, Calendar, and Alarm Locations", "Registers"; the wiring of a PC:
Intel ICH9 data sheet (316972), section 13.6 (bit 7 of port 0x70 masks NMI; 32.768 kHz). The century at 0x32 is the AT's and ACPI's (FADT "CENTURY").

Calendar, update cycle and periodic ticks are functions of the moment: `State.offset` is the distance between calendar and virtual time. Flags are
worked out when they are asked for; deadlines exist only for interrupts that are enabled. The chip has a battery: a reset clears only what the RESET
pin clears.

Not modelled: daylight saving (DSE), the square-wave pin (SQWE), other crystals than 32.768 kHz and the divider's test modes (time stands still in them).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devices.core.clock import SECOND, Deadline, VirtualClock, cycle_start, cycles
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, TODO, WO, Chip, Field, Layout, Register

UPDATE = 244_000 + 1_984_000          # ns that UIP is high before each update becomes visible: t_BUC and t_UC at 32.768 kHz
HALF_SECOND = SECOND // 2             # from the end of a divider reset to the first update
SECONDS_A_DAY = 86_400
EPOCH = dt.date(1970, 1, 1).toordinal()
THURSDAY = 5                          # 1970-01-01; the chip counts days of the week from Sunday = 1

RUNS, RESETS = 0b010, (0b110, 0b111)  # register A, DV2-0
SET, PIE, AIE, UIE, SQWE, BINARY, HOURS_24 = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02       # register B
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10                                                   # register C
PM = 0x80                             # hours in 12-hour mode
ANY = 0xC0                            # an alarm byte with both bits set matches everything
CENTURY = 0x32

TIME_REGISTERS = ("SECONDS", "MINUTES", "HOURS", "DAY_OF_WEEK", "DATE", "MONTH", "YEAR", "CENTURY")
RANGES = ((0, 59), (0, 59), (0, 23), (1, 7), (1, 31), (1, 12), (0, 99), (0, 99))


@dataclass
class State:
    """Registers, memory and the calendar.

    Attributes:
        offset: ns to add to virtual time for the calendar's ns since 1970-01-01.
        stopped: the calendar's ns while the divider is held, None while it runs.
        weekday: what to add to the days since 1970 for the day of the week.
        held: time registers as the guest sees them while SET is 1.
        checked: ns of virtual time up to which register C knows what happened.
        ram, extended: 0x0E-0x31 and 0x33-0x7F.
    """

    address: int = 0
    seconds_alarm: int = 0
    minutes_alarm: int = 0
    hours_alarm: int = 0
    a: int = RUNS << 4 | 6            # 1024 Hz
    b: int = HOURS_24
    c: int = 0
    d: int = 0x80
    offset: int = 0
    stopped: int | None = None
    weekday: int = THURSDAY - 1
    held: list[int] = field(default_factory=lambda: [0] * len(TIME_REGISTERS))
    checked: int = 0
    ram: list[int] = field(default_factory=lambda: [0] * (CENTURY - 0x0E))
    extended: list[int] = field(default_factory=lambda: [0] * (0x80 - CENTURY - 1))


def _shows(which: int) -> Callable[[Rtc], int]:
    return lambda chip: chip.time_register(which)


def _takes(which: int) -> Callable[[Rtc, int], None]:
    return lambda chip, value: chip.set_time_register(which, value)


class Rtc(Chip[State]):
    """The clock of a PC.

    Args:
        clock: virtual time.
        irq: IRQ 8, high while register C's IRQF is 1.
        log: told of a guest's mistakes.
        start: the calendar at virtual time 0, ns since 1970-01-01 in the time zone that the clock is to show.
        cmos: what the memory holds at first, by address from 0x0E: what a board's firmware expects there (sizes of memory, equipment).
        mask_nmi: told when bit 7 of port 0x70 changes.
    """

    NAME = "rtc"
    BLOCKS = (
        Layout("ports", 2, (
            Register("ADDRESS", 0, 1, WO, doc="port 0x70", fields=(Field("INDEX", (6, 0)), Field("NMI_MASK", 7))),
            Register("ADDRESS_READ", 0, 1, RO, 0xFF, doc="nothing drives the bus; some read it to let time pass"),
            Register("DATA", 1, 1, RW, doc="port 0x71, what ADDRESS chooses"),
        ), hole=0xFF),
        Layout("cmos", 0x80, (
            Register("SECONDS", 0x0, 1), Register("SECONDS_ALARM", 0x1, 1), Register("MINUTES", 0x2, 1), Register("MINUTES_ALARM", 0x3, 1),
            Register("HOURS", 0x4, 1, doc="bit 7: PM in 12-hour mode"), Register("HOURS_ALARM", 0x5, 1),
            Register("DAY_OF_WEEK", 0x6, 1, doc="Sunday = 1"), Register("DATE", 0x7, 1), Register("MONTH", 0x8, 1), Register("YEAR", 0x9, 1),
            Register("A", 0xA, 1, RW, RUNS << 4 | 6, doc="oscillator", fields=(
                Field("RS", (3, 0), doc="rate of the periodic interrupt"), Field("DV", (6, 4), doc="010 runs, 11x holds the divider"),
                Field("UIP", 7, RO, doc="an update is near or in progress"))),
            Register("B", 0xB, 1, RW, HOURS_24, doc="modes and interrupts", fields=(
                Field("DSE", 0, TODO, doc="daylight saving"), Field("HOURS_24", 1), Field("DM", 2, doc="1: binary, 0: BCD"),
                Field("SQWE", 3, doc="square wave"), Field("UIE", 4), Field("AIE", 5), Field("PIE", 6), Field("SET", 7, doc="holds the time registers"))),
            Register("C", 0xC, 1, RO, doc="what happened; cleared by reading", fields=(Field("UF", 4), Field("AF", 5), Field("PF", 6), Field("IRQF", 7))),
            Register("D", 0xD, 1, RO, 0x80, doc="battery", fields=(Field("VRT", 7, doc="memory and time are valid"),)),
            Register("RAM", 0x0E, 1, count=CENTURY - 0x0E, stride=1),
            Register("CENTURY", CENTURY, 1, doc="of the year, coded as the year is"),
            Register("EXTENDED", CENTURY + 1, 1, count=0x80 - CENTURY - 1, stride=1),
        )),
    )

    def __init__(self, clock: VirtualClock, irq: IrqLine, log: AccessLog, start: int = 0, cmos: Mapping[int, int] | None = None,
                 mask_nmi: Callable[[bool], None] | None = None, name: str = "") -> None:
        self._clock = clock
        self._start = start
        super().__init__(log, name)
        self._irq = irq
        self._mask_nmi = mask_nmi
        self._deadline: Deadline | None = None
        self._cmos = self.blocks["cmos"]
        for address, value in (cmos or {}).items():
            self.set_memory(address, value)

    def initial(self) -> State:
        """As the battery's first day: the calendar shows `start`."""
        return State(offset=self._start, checked=self._clock.now())

    # --- for the board -----------------------------------------------------------------------------------------------------------------
    def set_memory(self, address: int, value: int) -> None:
        """Put a byte into the memory, 0x0E..0x7F but for the century."""
        if address > CENTURY:
            self.state.extended[address - CENTURY - 1] = value & 0xFF
        elif 0x0E <= address < CENTURY:
            self.state.ram[address - 0x0E] = value & 0xFF
        else:
            raise ValueError(f"CMOS {address:#x} is no memory")

    def reset(self) -> None:
        """The RESET pin: PIE, AIE, UIE, SQWE and all flags go; time and memory have a battery."""
        state = self.state
        self._settle()
        state.b &= ~(PIE | AIE | UIE | SQWE)
        state.c = 0
        self.on_ADDRESS(0, state.address)
        state.address = 0
        self._update()

    def on_restore(self) -> None:
        """Line and deadline follow the state."""
        self._update()

    # --- ports -------------------------------------------------------------------------------------------------------------------------
    def on_ADDRESS(self, value: int, old: int) -> None:
        if (value ^ old) & 0x80 and self._mask_nmi is not None:
            self._mask_nmi(value & 0x80 != 0)

    def read_DATA(self) -> int:
        return self._cmos.read(self.state.address & 0x7F, 1)

    def peek_DATA(self) -> int:
        return self._cmos.peek(self.state.address & 0x7F, 1)

    def on_DATA(self, value: int) -> None:
        self._settle()                                     # what happened so far happened under the old settings
        self._cmos.write(self.state.address & 0x7F, 1, value)
        self._update()

    # --- registers ---------------------------------------------------------------------------------------------------------------------
    peek_SECONDS, on_SECONDS = _shows(0), _takes(0)
    peek_MINUTES, on_MINUTES = _shows(1), _takes(1)
    peek_HOURS, on_HOURS = _shows(2), _takes(2)
    peek_DAY_OF_WEEK, on_DAY_OF_WEEK = _shows(3), _takes(3)
    peek_DATE, on_DATE = _shows(4), _takes(4)
    peek_MONTH, on_MONTH = _shows(5), _takes(5)
    peek_YEAR, on_YEAR = _shows(6), _takes(6)
    peek_CENTURY, on_CENTURY = _shows(7), _takes(7)

    def time_register(self, which: int) -> int:
        """A time register as the guest reads it, by its place in `TIME_REGISTERS`."""
        return self.state.held[which] if self.state.b & SET else self._encoded()[which]

    def set_time_register(self, which: int, value: int) -> None:
        """The guest writes a time register: at once without SET, at the end of SET with it."""
        state = self.state
        if not state.b & SET:
            state.held = self._encoded()
        state.held[which] = value
        if not state.b & SET:
            self._adopt()

    def peek_A(self) -> int:
        state = self.state
        near = state.stopped is None and not state.b & SET and (self._clock.now() + state.offset) % SECOND >= SECOND - UPDATE
        return state.a | near << 7

    def on_A(self, value: int, old: int) -> None:
        state = self.state
        divider = value >> 4 & 7
        if divider == RUNS and state.stopped is not None:
            state.offset = state.stopped // SECOND * SECOND + HALF_SECOND - self._clock.now()
            state.stopped = None
        elif divider != RUNS and state.stopped is None:
            state.stopped = self._clock.now() + state.offset
        if divider != RUNS and divider not in RESETS and divider != old >> 4 & 7:
            self.log.note(self.name, "A", "divider set for another crystal or for tests: time stands still", dv=divider)

    def on_B(self, value: int, old: int) -> None:
        state = self.state
        if value & ~old & SET:
            state.b = old                                  # the registers still show the old format
            state.held = self._encoded()
            state.b = value
        if value & SET:
            state.b &= ~UIE
        elif old & SET:
            self._adopt()

    def peek_C(self) -> int:
        flags = self._flags()
        return flags | (IRQF if flags & self.state.b & (PIE | AIE | UIE) else 0)

    def read_C(self) -> int:
        value = self.peek_C()
        self._settle()
        self.state.c = 0
        self._update()
        return value

    # --- calendar ----------------------------------------------------------------------------------------------------------------------
    def _calendar(self) -> int:
        """The calendar's ns since 1970."""
        return self.state.stopped if self.state.stopped is not None else self._clock.now() + self.state.offset

    def _encoded(self) -> list[int]:
        """The time registers, in the format that register B asks for."""
        days, second = divmod(self._calendar() // SECOND, SECONDS_A_DAY)
        date = dt.date.fromordinal(min(max(EPOCH + days, 1), dt.date.max.toordinal()))
        numbers = (second % 60, second // 60 % 60, second // 3600, (days + self.state.weekday) % 7 + 1, date.day, date.month, date.year % 100, date.year // 100)
        values = [self._code(number) for number in numbers]
        values[2] = self._code_hour(numbers[2])
        return values

    def _adopt(self) -> None:
        """The calendar goes on from the time registers; the divider is not touched, so the next update comes when it would have come."""
        state = self.state
        numbers = [self._number(value) for value in state.held]
        numbers[2] = self._number_hour(state.held[2])
        for which, (number, (low, high)) in enumerate(zip(numbers, RANGES, strict=True)):
            if not low <= number <= high:
                self.log.note(self.name, TIME_REGISTERS[which], "no such time, the nearest is taken", value=state.held[which])
                numbers[which] = min(max(number, low), high)
        second, minute, hour, weekday, day, month, year, century = numbers
        full_year = max(century * 100 + year, 1)
        following = dt.date(full_year + month // 12, month % 12 + 1, 1) if full_year + month // 12 <= dt.MAXYEAR else dt.date.max
        first = dt.date(full_year, month, 1)
        day = min(day, (following - first).days or 31)
        days = first.toordinal() - EPOCH + day - 1
        seconds = days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second
        state.weekday = (weekday - 1 - days) % 7
        calendar = seconds * SECOND + self._calendar() % SECOND
        if state.stopped is not None:
            state.stopped = calendar
        else:
            state.offset = calendar - self._clock.now()

    def _code(self, number: int) -> int:
        return number if self.state.b & BINARY else number // 10 << 4 | number % 10

    def _number(self, value: int) -> int:
        return value if self.state.b & BINARY else (value >> 4) * 10 + (value & 0xF)

    def _code_hour(self, hour: int) -> int:
        if self.state.b & HOURS_24:
            return self._code(hour)
        return self._code((hour + 11) % 12 + 1) | (PM if hour >= 12 else 0)

    def _number_hour(self, value: int) -> int:
        """An hour 0..23, or a number beyond that for what is none."""
        if self.state.b & HOURS_24:
            return self._number(value)
        hour = self._number(value & ~PM)
        return hour % 12 + (12 if value & PM else 0) if 1 <= hour <= 12 else 0xFF

    # --- flags and interrupts ------------------------------------------------------------------------------------------------------------
    def _rate(self) -> int:
        """Hz of the periodic flag, 0 for none (data sheet, table 5)."""
        select = self.state.a & 0xF
        return 32_768 >> (select - 1 if select > 2 else select + 6) if select else 0

    def _flags(self) -> int:
        """Register C's flags by now."""
        state = self.state
        flags = state.c
        if state.stopped is not None:
            return flags
        before, now = state.checked + state.offset, self._clock.now() + state.offset
        rate = self._rate()
        if rate and cycles(now, rate) > cycles(before, rate):
            flags |= PF
        if not state.b & SET and now // SECOND > before // SECOND:
            flags |= UF
            if not flags & AF:
                alarm = self._next_alarm(before // SECOND)
                if alarm is not None and alarm <= now // SECOND:
                    flags |= AF
        return flags

    def _settle(self) -> None:
        """Register C learns what happened up to now."""
        self.state.c = self._flags()
        self.state.checked = self._clock.now()

    def _next_alarm(self, after: int) -> int | None:
        """The first second of the calendar beyond `after` that the alarm registers match; None if no second does."""
        state = self.state
        hour = None if state.hours_alarm & ANY == ANY else self._number_hour(state.hours_alarm)
        minute, second = (None if value & ANY == ANY else self._number(value) for value in (state.minutes_alarm, state.seconds_alarm))
        at, last = after + 1, after + SECONDS_A_DAY
        while at <= last:
            if hour is not None and at // 3600 % 24 != hour:
                at = (at // 3600 + 1) * 3600
            elif minute is not None and at // 60 % 60 != minute:
                at = (at // 60 + 1) * 60
            elif second is not None and at % 60 != second:
                at += 1
            else:
                return at
        return None

    def _update(self) -> None:
        """The line shows IRQF; a deadline waits for what would raise it."""
        state = self.state
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        enabled = state.b & (PIE | AIE | UIE)
        active = self._flags() & enabled
        self._irq.set(active != 0)
        if not enabled or active or state.stopped is not None:
            return
        now = self._clock.now() + state.offset
        moments = []
        rate = self._rate()
        if enabled & PIE and rate:
            moments.append(cycle_start(cycles(now, rate) + 1, rate))
        if not state.b & SET:
            if enabled & UIE:
                moments.append((now // SECOND + 1) * SECOND)
            alarm = self._next_alarm(now // SECOND) if enabled & AIE else None
            if alarm is not None:
                moments.append(alarm * SECOND)
        if moments:
            self._deadline = self._clock.at(min(moments) - state.offset, self._update)
