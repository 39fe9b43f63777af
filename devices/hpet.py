"""High precision event timers: a 64-bit counter and three comparators.

Specification: IA-PC HPET 1.0a (2004), chapter 2; Intel ICH9 data sheet (316972), chapter 20, for the clock and the pins that a comparator can be routed
to. Beyond ICH9, each comparator is periodic, has 64 bits and can send messages.

The counter is a function of the moment. Each comparator has one deadline, for its next match; matches of a periodic comparator that come closer than `MERGE`
reach the interrupt controllers as one.

Not modelled: a counter that is written while it runs behaves as if it had been halted for that moment (2.3.7 leaves it undefined).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from devices.core.clock import Deadline, VirtualClock, cycle_start, cycles
from devices.core.dma import DmaFault, DmaPort
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, W1C, Chip, Field, Layout, Register

HERTZ = 14_318_180
PERIOD_FS = 69_841_279                  # femtoseconds, as ICH9 says it
TIMERS = 3
MERGE = 50_000                          # ns
BITS = 64
ROUTES = 0x00F0_0000                    # IOAPIC pins 20-23
TIMER_IRQ, CLOCK_IRQ = 0, 1             # 2.2.2.1, legacy replacement: comparator 0 is IRQ 0, comparator 1 is IRQ 8

GCAP_ID = Register("GCAP_ID", 0x000, 8, RO, PERIOD_FS << 32 | 0x8086 << 16 | 1 << 15 | 1 << 13 | TIMERS - 1 << 8 | 1, doc="capabilities", fields=(
    Field("REV_ID", (7, 0)), Field("NUM_TIM_CAP", (12, 8), doc="comparators less 1"), Field("COUNT_SIZE_CAP", 13, doc="64 bits"),
    Field("LEG_RT_CAP", 15, doc="legacy replacement"), Field("VENDOR_ID", (31, 16)), Field("COUNTER_CLK_PERIOD", (63, 32), doc="femtoseconds")))
GEN_CONF = Register("GEN_CONF", 0x010, 8, RW, doc="general configuration", fields=(
    Field("ENABLE_CNF", 0, doc="counter runs, interrupts come"), Field("LEG_RT_CNF", 1, doc="legacy replacement")))
T_CONF = Register("T_CONF", 0x100, 8, RW, ROUTES << 32 | 1 << 15 | 1 << 5 | 1 << 4, count=TIMERS, stride=0x20, doc="a comparator's configuration", fields=(
    Field("INT_TYPE_CNF", 1, doc="0: edge, 1: level"), Field("INT_ENB_CNF", 2), Field("TYPE_CNF", 3, doc="periodic"), Field("PER_INT_CAP", 4, RO),
    Field("SIZE_CAP", 5, RO, doc="64 bits"), Field("VAL_SET_CNF", 6, doc="the next write sets the comparator of a periodic timer itself"),
    Field("MODE32_CNF", 8, doc="compares 32 bits"), Field("INT_ROUTE_CNF", (13, 9), doc="IOAPIC pin"), Field("FSB_EN_CNF", 14, doc="message instead of pin"),
    Field("FSB_INT_DEL_CAP", 15, RO), Field("INT_ROUTE_CAP", (63, 32), RO, doc="pins that INT_ROUTE_CNF can name")))

ENABLE, LEGACY = GEN_CONF["ENABLE_CNF"].mask, GEN_CONF["LEG_RT_CNF"].mask
LEVEL, INT_ENABLE, PERIODIC, VAL_SET, MODE32, FSB = (
    T_CONF[name].mask for name in ("INT_TYPE_CNF", "INT_ENB_CNF", "TYPE_CNF", "VAL_SET_CNF", "MODE32_CNF", "FSB_EN_CNF"))
ROUTE = T_CONF["INT_ROUTE_CNF"]


@dataclass
class State:
    """Registers and moments.

    Attributes:
        counter: the main counter while it stands still, which is while ENABLE_CNF is 0.
        ahead: counts by which it is ahead of an oscillator that began at 0 ns, while it runs.
        comparator: what each is compared with; a periodic one moves on at each match.
        period: counts between matches: what was written last.
        set_high: the upper half of a comparator whose lower half VAL_SET_CNF has just set.
        due: ns of the next match, -1 for none.
    """

    gen_conf: int = 0
    gintr_sta: int = 0
    counter: int = 0
    ahead: int = 0
    t_conf: list[int] = field(default_factory=lambda: [T_CONF.reset] * TIMERS)
    comparator: list[int] = field(default_factory=lambda: [(1 << BITS) - 1] * TIMERS)
    period: list[int] = field(default_factory=lambda: [0] * TIMERS)
    set_high: list[bool] = field(default_factory=lambda: [False] * TIMERS)
    due: list[int] = field(default_factory=lambda: [-1] * TIMERS)
    fsb_val: list[int] = field(default_factory=lambda: [0] * TIMERS)
    fsb_addr: list[int] = field(default_factory=lambda: [0] * TIMERS)


class Hpet(Chip[State]):
    """The timers. 1,024 bytes of registers, at 0xFED00000 on most boards.

    Args:
        clock: virtual time.
        pins: IOAPIC inputs by number, at least 24; those of `ROUTES` are driven.
        legacy: (IRQ 0, IRQ 8), driven in legacy replacement.
        dma: for messages instead of interrupts (FSB delivery).
        log: told of a guest's mistakes.
        replace: told when legacy replacement begins or ends, so that the board cuts off 8254 and real-time clock.
    """

    NAME = "hpet"
    BLOCKS = (Layout("registers", 0x400, (
        GCAP_ID, GEN_CONF,
        Register("GINTR_STA", 0x020, 8, W1C, doc="level interrupts that are active", fields=(Field("T_INT_STS", (TIMERS - 1, 0)),)),
        Register("MAIN_LOW", 0x0F0, 4, RW, doc="main counter, bits 31-0"),
        Register("MAIN_HIGH", 0x0F4, 4, RW, doc="main counter, bits 63-32"),
        T_CONF,
        Register("COMP_LOW", 0x108, 4, RW, 0xFFFFFFFF, count=TIMERS, stride=0x20, doc="comparator, bits 31-0"),
        Register("COMP_HIGH", 0x10C, 4, RW, 0xFFFFFFFF, count=TIMERS, stride=0x20, doc="comparator, bits 63-32"),
        Register("FSB_VAL", 0x110, 4, RW, count=TIMERS, stride=0x20, doc="message"),
        Register("FSB_ADDR", 0x114, 4, RW, count=TIMERS, stride=0x20, doc="address of the message"),
    )),)

    def __init__(self, clock: VirtualClock, pins: Sequence[IrqLine], legacy: tuple[IrqLine, IrqLine], dma: DmaPort, log: AccessLog,
                 replace: Callable[[bool], None] | None = None, name: str = "") -> None:
        super().__init__(log, name)
        self._clock = clock
        self._pins = pins
        self._legacy = legacy
        self._dma = dma
        self._replace = replace
        self._deadlines: list[Deadline | None] = [None] * TIMERS
        self._driven: list[IrqLine | None] = [None] * TIMERS

    # --- registers -----------------------------------------------------------------------------------------------------------------------
    def on_GEN_CONF(self, value: int, old: int) -> None:
        state, now = self.state, self._clock.now()
        if value & ~old & ENABLE:
            state.ahead = state.counter - cycles(now, HERTZ)
        elif old & ~value & ENABLE:
            state.counter = self._running(now)
        if (value ^ old) & LEGACY and self._replace is not None:
            self._replace(value & LEGACY != 0)
        for timer in range(TIMERS):
            self._plan(timer)
            self._drive(timer)

    def on_GINTR_STA(self, _value: int) -> None:
        for timer in range(TIMERS):
            self._drive(timer)

    def peek_MAIN_LOW(self) -> int:
        return self._count(self._clock.now()) & 0xFFFFFFFF

    def peek_MAIN_HIGH(self) -> int:
        return self._count(self._clock.now()) >> 32

    def on_MAIN_LOW(self, value: int) -> None:
        self._set_count(0, value)

    def on_MAIN_HIGH(self, value: int) -> None:
        self._set_count(32, value)

    def _set_count(self, shift: int, half: int) -> None:
        """One half of the main counter is written."""
        state, now = self.state, self._clock.now()
        state.counter = self._count(now) & ~(0xFFFFFFFF << shift) | half << shift
        state.ahead = state.counter - cycles(now, HERTZ)
        if state.gen_conf & ENABLE:
            self.log.note(self.name, "MAIN_HIGH" if shift else "MAIN_LOW", "written while it runs", value=half)
        for timer in range(TIMERS):
            self._plan(timer)

    def on_T_CONF(self, timer: int, value: int, old: int) -> None:
        state = self.state
        if not ROUTES >> ROUTE.get(value) & 1 and ROUTE.get(value) != 0:
            value = ROUTE.put(ROUTE.get(old), value)                       # 2.3.8: what is read back tells software that this pin is not offered
        if value & MODE32:
            state.comparator[timer] &= 0xFFFFFFFF
            state.period[timer] &= 0xFFFFFFFF
        state.t_conf[timer] = value
        if not value & LEVEL:
            state.gintr_sta &= ~(1 << timer)
        self._plan(timer)
        self._drive(timer)

    def peek_COMP_LOW(self, timer: int) -> int:
        return self.state.comparator[timer] & 0xFFFFFFFF

    def peek_COMP_HIGH(self, timer: int) -> int:
        return self.state.comparator[timer] >> 32

    def on_COMP_LOW(self, timer: int, value: int) -> None:
        state = self.state
        setting = state.t_conf[timer] & VAL_SET != 0
        self._compare(timer, 0, value, setting)
        state.t_conf[timer] &= ~VAL_SET                                    # 2.3.8: it clears itself
        state.set_high[timer] = setting

    def on_COMP_HIGH(self, timer: int, value: int) -> None:
        state = self.state
        if not state.t_conf[timer] & MODE32:
            self._compare(timer, 32, value, state.set_high[timer] or state.t_conf[timer] & VAL_SET != 0)
        state.t_conf[timer] &= ~VAL_SET
        state.set_high[timer] = False

    def _compare(self, timer: int, shift: int, half: int, setting: bool) -> None:
        """One half of a comparator is written: a periodic one takes it as its period, and as its next match only where software asked for that."""
        state = self.state
        keep = ~(0xFFFFFFFF << shift)
        periodic = state.t_conf[timer] & PERIODIC
        if not periodic or setting:
            state.comparator[timer] = state.comparator[timer] & keep | half << shift
        state.period[timer] = state.period[timer] & keep & (1 << BITS) - 1 | half << shift
        if not periodic or setting:
            self._plan(timer)

    # --- time ------------------------------------------------------------------------------------------------------------------------------
    def _count(self, now: int) -> int:
        return self._running(now) if self.state.gen_conf & ENABLE else self.state.counter

    def _running(self, now: int) -> int:
        return self.state.ahead + cycles(now, HERTZ) & (1 << BITS) - 1

    def _plan(self, timer: int, least: int = 0) -> None:
        """The next match, at least so many counts away."""
        state, now = self.state, self._clock.now()
        state.due[timer] = -1
        if state.gen_conf & ENABLE:
            span = 1 << (32 if state.t_conf[timer] & MODE32 else BITS)
            distance = (state.comparator[timer] - self._count(now) - least) % span + least
            state.due[timer] = cycle_start(cycles(now, HERTZ) + distance, HERTZ) if distance else now
        self._arm(timer)

    def _arm(self, timer: int) -> None:
        deadline = self._deadlines[timer]
        if deadline is not None:
            deadline.cancel()
        due = self.state.due[timer]
        self._deadlines[timer] = self._clock.at(due, lambda: self._match(timer)) if due >= 0 else None

    def _match(self, timer: int) -> None:
        """Comparator and counter are equal, or were not long ago."""
        state, now = self.state, self._clock.now()
        config = state.t_conf[timer]
        self._interrupt(timer, config)
        if not config & PERIODIC:
            self._plan(timer, 1)                                           # 2.3.8: again when the counter has wrapped
            return
        period = state.period[timer]
        if not period:
            state.due[timer] = -1
            self.log.note(self.name, f"T_CONF{timer}", "periodic without a period")
            return
        span = 1 << (32 if config & MODE32 else BITS)
        late = (self._count(now) - state.comparator[timer]) % span
        ahead = period - late % period
        state.comparator[timer] = (state.comparator[timer] + late + ahead) % span
        state.due[timer] = max(cycle_start(cycles(now, HERTZ) + ahead, HERTZ), now + MERGE)
        self._arm(timer)

    # --- interrupts --------------------------------------------------------------------------------------------------------------------------
    def _line(self, timer: int) -> IrqLine | None:
        """Where a comparator's interrupt goes."""
        state = self.state
        if state.gen_conf & LEGACY and timer in (TIMER_IRQ, CLOCK_IRQ):
            return self._legacy[timer]
        route = ROUTE.get(state.t_conf[timer])
        return self._pins[route] if ROUTES >> route & 1 else None

    def _interrupt(self, timer: int, config: int) -> None:
        state = self.state
        if config & LEVEL:
            state.gintr_sta |= 1 << timer
            self._drive(timer)
        elif config & FSB and config & INT_ENABLE:
            try:
                self._dma.write(state.fsb_addr[timer], state.fsb_val[timer].to_bytes(4, "little"))
            except DmaFault as fault:
                self.log.note(self.name, f"FSB_ADDR{timer}", f"message lost: {fault.reason}", address=state.fsb_addr[timer])
        elif config & INT_ENABLE:
            line = self._line(timer)
            if line is not None:
                line.pulse()

    def _drive(self, timer: int) -> None:
        """A level interrupt's line is high while its status bit is 1; a line that the comparator has left falls."""
        state = self.state
        active = state.gen_conf & ENABLE and state.t_conf[timer] & (INT_ENABLE | LEVEL) == INT_ENABLE | LEVEL and state.gintr_sta >> timer & 1
        line = self._line(timer) if active else None
        driven, self._driven[timer] = self._driven[timer], line
        if driven is not None and driven is not line:
            driven.lower()
        if line is not None:
            line.raise_()

    def on_reset(self) -> None:
        """Nothing runs; 8254 and real-time clock have their lines again."""
        self.on_restore()

    def on_restore(self) -> None:
        """Deadlines, lines and legacy replacement follow the state."""
        if self._replace is not None:
            self._replace(self.state.gen_conf & LEGACY != 0)
        for timer in range(TIMERS):
            self._arm(timer)
            self._drive(timer)
