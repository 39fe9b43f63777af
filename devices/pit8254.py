"""8254 programmable interval timer: three 16-bit counters on a 1.193182 MHz clock.

Specification: Intel 8254 data sheet (231164-005), "Programming the 8254" and "Mode Definitions"; the wiring of a PC: Intel ICH9 data sheet (316972),
section 5.8. Channel 0's OUT is IRQ 0, channel 1 once refreshed DRAM and leads nowhere, channel 2's GATE and OUT belong to port 0x61.

Nothing ticks: counting element, OUT and status are functions of the moment and of what was programmed when. Only channel 0's OUT has deadlines, because
something listens to it. Edges of OUT that come closer than `MERGE` CLK pulses reach it as one: no processor answers faster, and no guest can hold up the host.

Not modelled: the undefined counts between a control word and the first count; the old count stays readable.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from devices.core.clock import Deadline, VirtualClock, cycle_start, cycles
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RW, WO, Chip, Field, Layout, Register

HERTZ = 1_193_182                # CLK
CHANNELS = 3
MERGE = 60                       # CLK pulses, 50 us

LSB, MSB, BOTH = 1, 2, 3         # access modes RW1 RW0; 0 is the counter latch command
READ_BACK = 3                    # SC1 SC0 of the read-back command
RUNS = -2                        # `CounterState.limit` of a counter that is not stopped
NEVER = 1 << 62                  # a moment that does not come


class Mode(enum.IntEnum):
    """Data sheet, "Mode Definitions"."""

    TERMINAL_COUNT = 0
    ONE_SHOT = 1
    RATE = 2
    SQUARE = 3
    SOFTWARE_STROBE = 4
    HARDWARE_STROBE = 5


PERIODIC = (Mode.RATE, Mode.SQUARE)
TRIGGERED = (Mode.ONE_SHOT, Mode.HARDWARE_STROBE)        # by GATE, not by writing a count


@dataclass
class CounterState:
    """One counter. Moments are numbers of CLK pulses since power-on, `elapsed` counts them from the loading of the counting element.

    Attributes:
        mode, access, bcd: the control word; `word` are its lower six bits as written.
        programmed: a count was written since the control word.
        reload: the count register CR, 1..65536 (10000 in BCD).
        low: the first byte of a two-byte count, while the second is awaited; -1 if none is.
        second: the next read gives the second byte of a two-byte count.
        gate: the GATE pin.
        start: what the counting element CE was loaded with.
        loaded: when it was, or will be at the next CLK.
        limit: `elapsed` where GATE stopped it; -2 while it runs.
        held_out, held_count: OUT and CE until it is loaded.
        switch: when a count that waits for the end of the (half) cycle is loaded; -1 if none waits.
        waiting: CR holds a count that only a trigger will load.
        latched: the latched count, -1 if none; status likewise.
    """

    mode: int = 0
    access: int = BOTH
    bcd: bool = False
    word: int = BOTH << 4
    programmed: bool = False
    reload: int = 0
    low: int = -1
    second: bool = False
    gate: bool = True
    start: int = 0
    loaded: int = 0
    limit: int = RUNS
    held_out: bool = False
    held_count: int = 0
    switch: int = -1
    waiting: bool = False
    latched: int = -1
    status: int = -1


class Counter:
    """One counter's behaviour over its `CounterState`: each method is told the moment, as a number of CLK pulses."""

    def __init__(self, state: CounterState) -> None:
        self.state = state

    def control(self, tick: int, word: int) -> None:
        """A control word for this counter: mode, access and BCD; OUT goes to the mode's initial level, and counting waits for a count."""
        state = self.state
        count = self.count(tick)
        mode = word >> 1 & 7
        state.mode = mode if mode < 6 else mode - 4                 # x10 and x11 are modes 2 and 3
        state.access = word >> 4 & 3
        state.bcd = bool(word & 1)
        state.word = word & 0x3F
        state.programmed = state.waiting = state.second = False
        state.low = state.switch = state.latched = state.status = -1
        state.limit = RUNS
        state.held_out = state.mode != Mode.TERMINAL_COUNT
        state.held_count = count

    def write(self, tick: int, byte: int) -> None:
        """A byte of the count, by the access mode; the last one starts what the mode says."""
        state = self.state
        if state.access == BOTH and state.low < 0:
            self.settle(tick)
            if state.mode == Mode.TERMINAL_COUNT and state.programmed:
                state.held_count, state.held_out, state.programmed = self.count(tick), False, False      # stops counting, OUT low at once
            state.low = byte
            return
        count = byte if state.access == LSB else byte << 8 if state.access == MSB else state.low | byte << 8
        state.low = -1
        self._load(tick, self._binary(count) or self._modulus())

    def _load(self, tick: int, count: int) -> None:
        """A whole count was written."""
        state = self.state
        self.settle(tick)
        held_out, held_count, running = self.out(tick), self.count(tick), state.programmed
        state.reload = count
        if state.mode in TRIGGERED:
            if not running:
                state.held_out, state.held_count = True, held_count
            state.waiting = True
            return
        state.programmed = True
        if state.mode in PERIODIC and running and self.elapsed(tick) >= 0:
            state.switch = NEVER if state.limit != RUNS else self._boundary(tick)
            return
        state.held_out = held_out and state.mode != Mode.TERMINAL_COUNT
        state.held_count = held_count
        state.start, state.loaded = count, tick + 1
        state.limit = RUNS if state.gate else 0

    def gate(self, tick: int, level: bool) -> None:
        """The GATE pin changes: level-sensitive in modes 0 and 4, a trigger in modes 1 and 5, both in modes 2 and 3."""
        state = self.state
        if level == state.gate:
            return
        self.settle(tick)
        if level and state.mode in (*TRIGGERED, *PERIODIC):
            self._trigger(tick)
        elif state.programmed and state.mode not in TRIGGERED:
            elapsed = self.elapsed(tick)
            if level:
                state.limit = RUNS
                state.loaded = tick - elapsed if elapsed >= 0 else state.loaded
            else:
                strobes = state.mode == Mode.SOFTWARE_STROBE and elapsed == state.start
                state.limit = max(elapsed, 0) + strobes                  # a strobe that has begun ends
                state.switch = NEVER if state.switch >= 0 else -1
        state.gate = level

    def _trigger(self, tick: int) -> None:
        """A rising edge of GATE: CE is loaded from CR at the next CLK."""
        state = self.state
        if not (state.programmed or state.waiting):
            return
        state.held_out, state.held_count = self.out(tick), self.count(tick)
        state.programmed, state.waiting = True, False
        state.start, state.loaded, state.limit, state.switch = state.reload, tick + 1, RUNS, -1

    def settle(self, tick: int) -> None:
        """Modes 2 and 3: a new count is loaded once the cycle (mode 3: the half of it) that ran when it was written is over."""
        state = self.state
        if not 0 <= state.switch <= tick:
            return
        half = (state.start + 1) // 2
        falls = state.mode == Mode.SQUARE and state.start > 1 and (state.switch - state.loaded - half) % state.start == 0
        state.loaded = state.switch - (state.reload + 1) // 2 if falls else state.switch
        state.start, state.switch = state.reload, -1

    def elapsed(self, tick: int) -> int:
        """CLK pulses since CE was loaded, -1 while that is still to come."""
        state = self.state
        elapsed = tick - state.loaded
        return elapsed if state.limit == RUNS else min(elapsed, state.limit)

    def count(self, tick: int) -> int:
        """What CE holds, 0..65535 (9999 in BCD)."""
        self.settle(tick)
        state = self.state
        elapsed = self.elapsed(tick)
        if not state.programmed or elapsed < 0:
            return state.held_count % self._modulus()
        if state.mode == Mode.RATE:
            elapsed %= state.start
        elif state.mode == Mode.SQUARE:
            elapsed = 2 * (elapsed % state.start % ((state.start + 1) // 2)) + state.start % 2       # counts by twos, from an even number
        return (state.start - elapsed) % self._modulus()

    def out(self, tick: int) -> bool:
        """The OUT pin."""
        self.settle(tick)
        state = self.state
        elapsed = self.elapsed(tick)
        if not state.programmed or elapsed < 0:
            return state.held_out
        if state.mode in (Mode.TERMINAL_COUNT, Mode.ONE_SHOT):
            return elapsed >= state.start
        if state.mode in (Mode.SOFTWARE_STROBE, Mode.HARDWARE_STROBE):
            return elapsed != state.start
        if state.limit != RUNS:
            return True
        return elapsed % state.start < (state.start - 1 if state.mode == Mode.RATE else (state.start + 1) // 2)

    def null_count(self, tick: int) -> bool:
        """Whether CE does not hold yet what was written last."""
        self.settle(tick)
        state = self.state
        return not state.programmed or state.waiting or state.switch >= 0 or self.elapsed(tick) < 0

    def next_edge(self, tick: int) -> int | None:
        """The next moment after `tick` at which OUT changes, lows of a single CLK counting as one moment with their end; None if nothing changes by itself."""
        self.settle(tick)
        state = self.state
        if not state.programmed or state.limit != RUNS:
            return None
        elapsed = self.elapsed(tick)
        if elapsed < 0 and state.held_out != (state.mode not in (Mode.TERMINAL_COUNT, Mode.ONE_SHOT)):
            return state.loaded
        if state.mode in PERIODIC:
            return self._boundary(tick)
        end = state.start if state.mode in (Mode.TERMINAL_COUNT, Mode.ONE_SHOT) else state.start + 1
        return state.loaded + end if elapsed < end else None

    def latch_count(self, tick: int) -> None:
        """Keep the count for the next reads; a count that is latched already stays."""
        if self.state.latched < 0:
            self.state.latched = self._coded(self.count(tick))

    def latch_status(self, tick: int) -> None:
        """Keep the status byte for the next read, modes 6 and 7 "exactly as written" (data sheet, "Read-Back Command"); one that is latched already stays."""
        state = self.state
        if state.status < 0:
            state.status = self.out(tick) << 7 | self.null_count(tick) << 6 | state.word

    def read(self, tick: int) -> int:
        """A byte of the latched status, of the latched count or of the count itself, in this order of precedence."""
        state = self.state
        if state.status >= 0:
            status, state.status = state.status, -1
            return status
        value = self.peek(tick)
        if state.access == BOTH:
            state.second = not state.second
        if not state.second:
            state.latched = -1
        return value

    def peek(self, tick: int) -> int:
        """What `read` would give, without its effects."""
        state = self.state
        if state.status >= 0:
            return state.status
        count = state.latched if state.latched >= 0 else self._coded(self.count(tick))
        return count >> 8 if state.access == MSB or (state.access == BOTH and state.second) else count & 0xFF

    def _boundary(self, tick: int) -> int:
        """Modes 2 and 3: when CE is loaded again after `tick`."""
        state = self.state
        elapsed = max(self.elapsed(tick), 0)
        within, half = elapsed % state.start, (state.start + 1) // 2
        if state.mode == Mode.SQUARE and within < half and state.start > 1:
            return state.loaded + elapsed - within + half
        return state.loaded + elapsed - within + state.start

    def _modulus(self) -> int:
        return 10_000 if self.state.bcd else 0x10000

    def _binary(self, written: int) -> int:
        """A count as written, as a number. Nibbles beyond 9 are worth what they say: 0x000A in BCD is ten."""
        if not self.state.bcd:
            return written
        return sum((written >> 4 * digit & 0xF) * 10 ** digit for digit in range(4))

    def _coded(self, count: int) -> int:
        """A number as the guest reads it."""
        if not self.state.bcd:
            return count
        return sum(count // 10 ** digit % 10 << 4 * digit for digit in range(4))


@dataclass
class State:
    """The three counters; channel 2's GATE is low until port 0x61 raises it."""

    counters: list[CounterState] = field(default_factory=lambda: [CounterState(), CounterState(), CounterState(gate=False)])


class Pit8254(Chip[State]):
    """The timer of a PC.

    Args:
        clock: where CLK comes from.
        irq: channel 0's OUT.
        log: told of a guest's mistakes.
    """

    NAME = "pit8254"
    BLOCKS = (Layout("registers", 4, (
        Register("COUNTER", 0, 1, RW, doc="count bytes, or what was latched", count=CHANNELS, stride=1),
        Register("CONTROL", 3, 1, WO, doc="control word, counter latch command or read-back command", fields=(
            Field("BCD", 0), Field("M", (3, 1), enum=Mode), Field("RW", (5, 4)), Field("SC", (7, 6)))),
    ), hole=0xFF),)                                                     # data sheet, "Read/Write Logic": reading the control word leaves the bus in 3-state

    def __init__(self, clock: VirtualClock, irq: IrqLine, log: AccessLog, name: str = "") -> None:
        super().__init__(log, name)
        self._clock = clock
        self._irq = irq
        self._deadline: Deadline | None = None
        self._counters: list[Counter] = []
        self.on_restore()

    # --- pins ------------------------------------------------------------------------------------------------------------------------
    def set_gate(self, channel: int, level: bool) -> None:
        """Drive a channel's GATE."""
        self._counters[channel].gate(self._tick(), level)
        if channel == 0:
            self._follow()

    def out(self, channel: int) -> bool:
        """A channel's OUT, now."""
        return self._counters[channel].out(self._tick())

    # --- registers -------------------------------------------------------------------------------------------------------------------
    def read_COUNTER(self, channel: int) -> int:
        return self._counters[channel].read(self._tick())

    def peek_COUNTER(self, channel: int) -> int:
        return self._counters[channel].peek(self._tick())

    def on_COUNTER(self, channel: int, value: int) -> None:
        counter = self._counters[channel]
        counter.write(self._tick(), value)
        if counter.state.reload == 1 and counter.state.mode in PERIODIC:
            self.log.note(self.name, f"COUNTER{channel}", "count of 1, which modes 2 and 3 forbid")
        if channel == 0:
            self._follow()

    def on_CONTROL(self, value: int) -> None:
        tick = self._tick()
        channel = value >> 6
        if channel == READ_BACK:
            self._read_back(tick, value)
        elif value & 0x30:
            self._counters[channel].control(tick, value)
            if channel == 0:
                self._follow()
        else:
            self._counters[channel].latch_count(tick)

    def _read_back(self, tick: int, command: int) -> None:
        """Latch count (bit 5 is 0) and status (bit 4 is 0) of the chosen counters."""
        if command & 1:
            self.log.note(self.name, "CONTROL", "reserved bit of the read-back command", value=command)
        for channel, counter in enumerate(self._counters):
            if command >> 1 + channel & 1:
                if not command & 0x20:
                    counter.latch_count(tick)
                if not command & 0x10:
                    counter.latch_status(tick)

    # --- time ------------------------------------------------------------------------------------------------------------------------
    def _tick(self) -> int:
        return cycles(self._clock.now(), HERTZ)

    def _follow(self) -> None:
        """Channel 0 was touched: the line shows its OUT, and waits for its next edge."""
        tick = self._tick()
        self._irq.set(self._counters[0].out(tick))
        self._wait(tick, tick)

    def _wait(self, tick: int, earliest: int) -> None:
        """For the next edge after `tick`, but not before `earliest`."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        edge = self._counters[0].next_edge(tick)
        if edge is not None:
            self._deadline = self._clock.at(cycle_start(max(edge, earliest), HERTZ), self._edge)

    def _edge(self) -> None:
        """OUT rose or, in mode 3 and at the start of a one-shot, fell. What a late host missed in between is one edge."""
        tick = self._tick()
        out = self._counters[0].out(tick)
        if out or not self._irq.level:
            self._irq.lower()
            self._irq.raise_()
        self._irq.set(out)
        self._wait(tick, tick + MERGE)

    def on_reset(self) -> None:
        """As after power-on: counters do not count."""
        self.on_restore()

    def on_restore(self) -> None:
        """The state's counters are new objects; line and deadline follow them."""
        self._counters = [Counter(state) for state in self.state.counters]
        self._follow()
