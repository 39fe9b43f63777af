"""8254, by its data sheet: the closed forms against a counter that is clocked pulse by pulse, then the commands, then the wiring."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.core.clock import SECOND, ManualTime, VirtualClock, cycle_start
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.pit8254 import BOTH, HERTZ, MSB, Counter, CounterState, Mode, Pit8254

CONTROL = 3


class Clocked:
    """One counter as "Mode Definitions" describes it: state that changes with each CLK."""

    def __init__(self, mode: int, gate: bool) -> None:
        self.mode, self.gate = mode, gate
        self.register = self.element = self.loaded = 0
        self.out = mode != 0
        self.null, self.load, self.trigger, self.counts, self.strobe = True, False, False, False, False
        self.written = False

    def write(self, count: int) -> None:
        self.register, self.null = count, True
        if self.mode == 0:
            self.out = False
        if self.mode in (0, 4) or (self.mode in (2, 3) and not self.written):
            self.load = True
        self.written = True

    def set_gate(self, level: bool) -> None:
        if level and not self.gate and self.written and self.mode in (1, 2, 3, 5):
            self.trigger = True
        if not level and self.mode in (2, 3) and self.written:
            self.out = True
        self.gate = level

    def clock(self) -> None:
        if self.load or self.trigger:
            self._reload()
            self.load = self.trigger = False
            self.counts, self.strobe = True, False
            self.out = self.mode not in (0, 1)
            return
        if self.strobe:
            self.strobe, self.out = False, True
        elif not self.gate and self.mode not in (1, 5):
            return
        if not self.counts:
            return
        if self.mode == 2:
            if self.element == 1:
                self._reload()
            else:
                self.element -= 1
            self.out = self.element != 1
        elif self.mode == 3:
            self._square()
        else:
            self.element = (self.element - 1) % 0x10000
            if self.element == 0 and self.mode in (0, 1):
                self.out = True
            elif self.element == 0:
                self.out, self.strobe = False, True

    def _square(self) -> None:
        extra = self.loaded % 2 == 1 and self.out                  # odd counts: one CLK more while OUT is high
        if self.element == 0 and extra:
            self.out = False
            self._reload()
            return
        self.element -= 2
        if self.element == 0 and not extra:
            self.out = not self.out
            self._reload()

    def _reload(self) -> None:
        self.loaded = self.register
        self.element = self.register - (self.register % 2 if self.mode == 3 else 0)
        self.null = False


OPERATIONS = st.lists(st.tuples(st.sampled_from(["write", "gate", "wait", "wait"]), st.integers(2, 12), st.integers(1, 30)), min_size=1, max_size=12)


@pytest.mark.parametrize("mode", range(6))
@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS, gate=st.booleans())
def test_mode_definitions_pulse_by_pulse(mode: int, operations: list[tuple[str, int, int]], gate: bool) -> None:
    counter, clocked = Counter(CounterState(gate=gate)), Clocked(mode, gate)
    tick = 0
    counter.control(tick, BOTH << 4 | mode << 1)
    for what, count, pulses in operations:
        if what == "write":
            counter.write(tick, count)
            counter.write(tick, 0)
            clocked.write(count)
        elif what == "gate":
            counter.gate(tick, not clocked.gate)
            clocked.set_gate(not clocked.gate)
        for _ in range(pulses):
            expected = counter.next_edge(tick)
            before = counter.out(tick)
            tick += 1
            clocked.clock()
            assert counter.out(tick) == clocked.out, (tick, what)
            assert counter.null_count(tick) == clocked.null
            if clocked.counts:
                assert counter.count(tick) == clocked.element
            if mode in (0, 1, 3) and counter.out(tick) != before:
                assert expected == tick                            # no change without a deadline


class Bench:
    def __init__(self) -> None:
        self.time = ManualTime()
        self.clock = VirtualClock(self.time)
        self.edges: list[tuple[int, bool]] = []
        self.irq = IrqLine(lambda level: self.edges.append((self.time.now(), level)))
        self.log = AccessLog()
        self.chip = Pit8254(self.clock, self.irq, self.log)
        self.block = self.chip.blocks["registers"]

    def out(self, port: int, *values: int) -> None:
        for value in values:
            self.block.write(port, 1, value)

    def into(self, port: int) -> int:
        return self.block.read(port, 1)

    def pulses(self, count: int) -> None:
        """Let so many CLK pulses pass, stopping at every deadline."""
        end = cycle_start(self.chip._tick() + count, HERTZ)
        while (deadline := self.clock.next_deadline()) is not None and deadline <= end:
            self.time.advance(deadline - self.time.now())
            self.clock.run_due()
        self.time.advance(end - self.time.now())

    def rises(self) -> list[int]:
        return [moment for moment, level in self.edges if level]


@pytest.fixture
def pit() -> Bench:
    return Bench()


def test_rate_generator_interrupts_at_its_rate(pit: Bench) -> None:
    pit.out(CONTROL, 0x34)
    pit.out(0, 11932 & 0xFF, 11932 >> 8)
    pit.edges.clear()
    pit.pulses(100 * 11932 + 1)
    rises = pit.rises()
    assert len(rises) == 100 and all(abs(second - first - 11932 * SECOND // HERTZ) <= 1 for first, second in itertools.pairwise(rises))


def test_count_of_zero_is_65536(pit: Bench) -> None:
    pit.out(CONTROL, 0x36)
    pit.out(0, 0, 0)
    pit.pulses(1)
    pit.edges.clear()
    pit.pulses(65536)
    assert [level for _, level in pit.edges] == [False, True]


def test_mode_0_raises_the_line_once(pit: Bench) -> None:
    pit.out(CONTROL, 0x30)
    pit.out(0, 100, 0)
    assert not pit.irq.level
    pit.pulses(100)
    assert not pit.irq.level
    pit.pulses(1)
    assert pit.irq.level
    pit.pulses(200_000)
    assert len(pit.edges) == 1 and pit.clock.next_deadline() is None


def test_edges_missed_by_a_late_host_are_one(pit: Bench) -> None:
    pit.out(CONTROL, 0x34)
    pit.out(0, 100, 0)
    pit.edges.clear()
    pit.time.advance(SECOND)
    assert pit.clock.run_due() == 1
    assert [level for _, level in pit.edges] == [False, True]
    assert pit.time.now() < (pit.clock.next_deadline() or 0) <= pit.time.now() + SECOND // 10_000


def test_a_count_of_1_in_mode_2_does_not_hold_up_the_host(pit: Bench) -> None:
    pit.out(CONTROL, 0x34)
    pit.out(0, 1, 0)
    ran = 0
    for _ in range(100):
        pit.time.advance(10_000)
        ran += pit.clock.run_due()
    assert ran <= 21 and pit.log.total() == 1


def test_counter_latch_keeps_the_count_until_it_is_read(pit: Bench) -> None:
    pit.out(CONTROL, 0xB4)
    pit.chip.set_gate(2, True)
    pit.out(2, 0x34, 0x12)
    pit.pulses(1)
    pit.out(CONTROL, 0x80)
    pit.pulses(0x34)
    pit.out(CONTROL, 0x80)                       # ignored: latched already
    assert (pit.into(2), pit.into(2)) == (0x34, 0x12)
    assert (pit.into(2), pit.into(2)) == (0x00, 0x12)


def test_access_modes_of_one_byte(pit: Bench) -> None:
    pit.out(CONTROL, 0x14)
    pit.out(0, 0x50)
    pit.pulses(1)
    assert pit.into(0) == pit.into(0) == 0x50
    pit.out(CONTROL, MSB << 4 | 4)
    pit.out(0, 0x50)
    pit.pulses(1)
    assert pit.into(0) == 0x50 and pit.chip._counters[0].count(pit.chip._tick()) == 0x5000


def test_read_back_latches_status_before_count(pit: Bench) -> None:
    pit.out(CONTROL, 0x34)
    pit.out(CONTROL, 0xE2)
    assert pit.into(0) == 0xF4                   # OUT high, null count, both bytes, mode 2
    pit.out(0, 0x10, 0x00)
    pit.pulses(1)
    pit.out(CONTROL, 0xC2)
    pit.pulses(3)
    assert [pit.into(0) for _ in range(3)] == [0xB4, 0x10, 0x00]
    assert pit.into(0) == 0x0D


def test_read_back_of_several_counters(pit: Bench) -> None:
    pit.out(CONTROL, 0x34, 0x70)
    pit.out(CONTROL, 0xE6)
    assert (pit.into(0), pit.into(1)) == (0xF4, 0x70)


def test_peek_has_no_side_effects(pit: Bench) -> None:
    pit.out(CONTROL, 0x34)
    pit.out(0, 0x34, 0x12)
    pit.pulses(1)
    pit.out(CONTROL, 0xC2)
    before = pit.chip.save()
    assert pit.block.peek(0, 1) == 0xB4
    assert pit.chip.save() == before


def test_bcd_counts_in_decades(pit: Bench) -> None:
    pit.out(CONTROL, 0x31)
    pit.out(0, 0x00, 0x10)                       # one thousand
    pit.pulses(2)
    assert (pit.into(0), pit.into(0)) == (0x99, 0x09)
    pit.pulses(999)
    assert (pit.into(0), pit.into(0)) == (0x00, 0x00) and pit.irq.level
    pit.pulses(1)
    assert (pit.into(0), pit.into(0)) == (0x99, 0x99)


def test_modes_6_and_7_are_2_and_3_and_status_says_what_was_written(pit: Bench) -> None:
    """Data sheet, "Read-Back Command": the mode "exactly as written in the last Mode Control Word"."""
    for word, mode in ((0x3C, Mode.RATE), (0x3F, Mode.SQUARE)):
        pit.out(CONTROL, word, 0xE2)
        assert pit.into(0) & 0x3F == word and pit.chip.state.counters[0].mode == mode


def test_control_word_is_write_only(pit: Bench) -> None:
    assert pit.into(CONTROL) == 0xFF and pit.log.total() == 1


def test_channel_2_counts_only_while_its_gate_is_high(pit: Bench) -> None:
    pit.out(CONTROL, 0xB0)
    pit.out(2, 50, 0)
    pit.pulses(1000)
    assert not pit.chip.out(2)
    pit.chip.set_gate(2, True)
    pit.pulses(49)
    assert not pit.chip.out(2)
    pit.pulses(1)
    assert pit.chip.out(2)


def test_snapshot_in_the_middle_of_a_count(pit: Bench) -> None:
    pit.out(CONTROL, 0x30)
    pit.out(0, 100, 0)
    pit.pulses(50)
    other = Bench()
    other.time.advance(pit.time.now())
    other.chip.restore(pit.chip.save())
    other.pulses(50)
    assert not other.irq.level
    other.pulses(1)
    assert other.irq.level
