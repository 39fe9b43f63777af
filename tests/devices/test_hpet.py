"""HPET, by IA-PC HPET 1.0a chapter 2."""

from __future__ import annotations

import itertools

import pytest

from devices.core.clock import SECOND, ManualTime, VirtualClock
from devices.core.dma import RamPort
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.hpet import HERTZ, Hpet

CONF, STATUS, COUNTER, T0, T1, T2 = 0x010, 0x020, 0x0F0, 0x100, 0x120, 0x140
INT, PERIODIC, VAL_SET, MODE32, LEVEL, FSB = 4, 8, 0x40, 0x100, 2, 0x4000
PIN = 20


class Bench:
    def __init__(self) -> None:
        self.time = ManualTime()
        self.clock = VirtualClock(self.time)
        self.edges: list[tuple[int, str]] = []
        self.pins = [self._line(f"pin{number}") for number in range(24)]
        self.ram = bytearray(0x1000)
        self.log = AccessLog()
        self.replaced: list[bool] = []
        self.chip = Hpet(self.clock, self.pins, (self._line("irq0"), self._line("irq8")), RamPort(self.ram), self.log, self.replaced.append)
        self.block = self.chip.blocks["registers"]

    def _line(self, name: str) -> IrqLine:
        return IrqLine(lambda level: self.edges.append((self.time.now(), name)) if level else None, name)

    def get(self, offset: int, size: int = 8) -> int:
        return self.block.read(offset, size)

    def put(self, offset: int, value: int, size: int = 8) -> None:
        self.block.write(offset, size, value)

    def wait(self, ns: int) -> None:
        end = self.time.now() + ns
        while (deadline := self.clock.next_deadline()) is not None and deadline <= end:
            self.time.advance(max(deadline - self.time.now(), 0))
            self.clock.run_due()
        self.time.advance(end - self.time.now())


@pytest.fixture
def hpet() -> Bench:
    return Bench()


def test_2_3_4_capabilities(hpet: Bench) -> None:
    assert hpet.get(0) == 69_841_279 << 32 | 0x8086A201
    assert hpet.get(4, 4) == 69_841_279


def test_2_3_5_counter_runs_while_enabled(hpet: Bench) -> None:
    hpet.wait(SECOND)
    assert hpet.get(COUNTER) == 0
    hpet.put(COUNTER, 1000)
    hpet.put(CONF, 1)
    hpet.wait(SECOND)
    assert hpet.get(COUNTER) == 1000 + HERTZ
    hpet.put(CONF, 0)
    hpet.wait(SECOND)
    assert hpet.get(COUNTER) == 1000 + HERTZ and hpet.log.total() == 0
    hpet.put(CONF, 1)
    hpet.put(COUNTER, 7 << 32 | 5)
    assert hpet.get(COUNTER) == 7 << 32 | 5
    assert {register for _, register, _ in hpet.log.counts} == {"MAIN_LOW", "MAIN_HIGH"}      # 2.3.7: only while halted


def test_one_shot_edge_interrupt(hpet: Bench) -> None:
    hpet.put(T0, PIN << 9 | INT)
    hpet.put(T0 + 8, HERTZ // 100)
    hpet.put(CONF, 1)
    hpet.wait(SECOND)
    assert len(hpet.edges) == 1 and hpet.edges[0][1] == "pin20" and abs(hpet.edges[0][0] - SECOND // 100) <= 100
    hpet.wait(100 * SECOND)
    assert len(hpet.edges) == 1


def test_2_3_8_32_bit_one_shot_comes_again_when_the_counter_wraps(hpet: Bench) -> None:
    hpet.put(T1, PIN << 9 | INT | MODE32)
    hpet.put(T1 + 8, 0x1_0000_1000)
    assert hpet.get(T1 + 8) == 0x1000
    hpet.put(CONF, 1)
    hpet.wait(301 * SECOND)
    assert len(hpet.edges) == 2 and abs(hpet.edges[1][0] - hpet.edges[0][0] - (1 << 32) * SECOND // HERTZ) <= 100


def test_periodic_with_val_set_takes_first_match_then_period(hpet: Bench) -> None:
    """How operating systems do it: 32-bit writes, first match and then period."""
    hpet.put(CONF, 1)
    hpet.put(T0, PIN << 9 | INT | PERIODIC | VAL_SET | MODE32, 4)
    hpet.put(T0 + 8, HERTZ // 10, 4)
    assert not hpet.get(T0) & VAL_SET
    hpet.put(T0 + 8, HERTZ // 100, 4)
    hpet.wait(SECOND // 2)
    assert [round(moment / 1e6) for moment, _ in hpet.edges] == list(range(100, 501, 10))
    gaps = {second - first for (first, _), (second, _) in itertools.pairwise(hpet.edges)}
    assert max(gaps) - min(gaps) <= 100
    assert hpet.get(T0 + 8) > hpet.get(COUNTER) >= hpet.get(T0 + 8) - HERTZ // 100


def test_val_set_takes_both_halves_of_a_64_bit_write(hpet: Bench) -> None:
    hpet.put(T0, INT | PERIODIC | VAL_SET)
    hpet.put(T0 + 8, 0x5_0000_0007)
    assert hpet.get(T0 + 8) == 0x5_0000_0007
    hpet.put(T0 + 8, 0x1_0000_0000)
    assert hpet.get(T0 + 8) == 0x5_0000_0007 and hpet.chip.state.period[0] == 0x1_0000_0000


def test_a_late_host_catches_up_without_a_loop(hpet: Bench) -> None:
    hpet.put(CONF, 1)
    hpet.put(T0, PIN << 9 | INT | PERIODIC | VAL_SET)
    hpet.put(T0 + 8, 1)                                              # 70 ns
    hpet.time.advance(SECOND)
    assert hpet.clock.run_due() == 1 and len(hpet.edges) == 1
    due = hpet.clock.next_deadline()
    assert due is not None and due - hpet.time.now() == 50_000


def test_level_interrupts_hold_until_their_status_is_cleared(hpet: Bench) -> None:
    hpet.put(T2, PIN + 1 << 9 | INT | LEVEL)
    hpet.put(T2 + 8, 100)
    hpet.put(CONF, 1)
    hpet.wait(SECOND)
    assert hpet.get(STATUS) == 4 and hpet.pins[21].level
    hpet.put(STATUS, 3)
    assert hpet.pins[21].level
    hpet.put(STATUS, 4)
    assert hpet.get(STATUS) == 0 and not hpet.pins[21].level


def test_2_2_2_1_legacy_replacement(hpet: Bench) -> None:
    hpet.put(T0, PIN << 9 | INT)
    hpet.put(T1, PIN << 9 | INT)
    hpet.put(T0 + 8, 100)
    hpet.put(T1 + 8, 200)
    hpet.put(CONF, 3)
    assert hpet.replaced == [True]
    hpet.wait(SECOND)
    assert [name for _, name in hpet.edges] == ["irq0", "irq8"]
    hpet.put(CONF, 1)
    assert hpet.replaced == [True, False]


def test_2_3_8_a_route_that_is_not_offered_is_not_taken(hpet: Bench) -> None:
    hpet.put(T0, 21 << 9 | INT)
    hpet.put(T0, 5 << 9 | INT)
    assert hpet.get(T0) >> 9 & 31 == 21


def test_2_3_9_message_instead_of_a_pin(hpet: Bench) -> None:
    hpet.put(T0 + 0x10, 0x800 << 32 | 0x4055)
    hpet.put(T0, INT | FSB)
    hpet.put(T0 + 8, 100)
    hpet.put(CONF, 1)
    hpet.wait(SECOND)
    assert hpet.ram[0x800:0x804] == b"\x55\x40\0\0" and not hpet.edges
    hpet.put(T0 + 0x14, 0xFFFF_0000, 4)
    hpet.put(T0 + 8, hpet.get(COUNTER) + 100)
    hpet.wait(SECOND)
    assert hpet.log.counts == {("hpet", "FSB_ADDR0", "message lost: 4 bytes are not within 0x1000 bytes of memory"): 1}


def test_nothing_comes_while_disabled_and_periodic_without_period_ends(hpet: Bench) -> None:
    hpet.put(T0, PIN << 9 | INT)
    hpet.put(T0 + 8, 10)
    assert hpet.clock.next_deadline() is None
    hpet.put(T1, PIN << 9 | INT | PERIODIC | VAL_SET)
    hpet.put(T1 + 8, 0)
    hpet.put(CONF, 1)
    hpet.wait(SECOND)
    assert ("hpet", "T_CONF1", "periodic without a period") in hpet.log.counts


def test_snapshot_keeps_what_is_due(hpet: Bench) -> None:
    hpet.put(T0, PIN << 9 | INT)
    hpet.put(T0 + 8, HERTZ // 10)
    hpet.put(CONF, 3)
    hpet.put(CONF, 1)
    hpet.time.advance(SECOND)                                        # due, but nobody has run it
    other = Bench()
    other.time.advance(SECOND)
    other.chip.restore(hpet.chip.save())
    assert other.clock.run_due() == 1 and len(other.edges) == 1


def test_2_3_8_val_set_clears_itself_with_either_half(hpet: Bench) -> None:
    for half in (0x8, 0xC):
        hpet.put(T0, VAL_SET)
        assert hpet.get(T0) & VAL_SET
        hpet.put(T0 + half, 1, 4)
        assert not hpet.get(T0) & VAL_SET
