"""MC146818, by the sections of its data sheet."""

from __future__ import annotations

import datetime as dt

import pytest

from devices.core.clock import SECOND, ManualTime, VirtualClock
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.rtc import UPDATE, Rtc

START = int(dt.datetime(2026, 2, 28, 23, 59, 58, tzinfo=dt.UTC).timestamp()) * SECOND       # a Saturday
A, B, C, D, CENTURY = 0xA, 0xB, 0xC, 0xD, 0x32


class Bench:
    def __init__(self, start: int = START) -> None:
        self.time = ManualTime()
        self.clock = VirtualClock(self.time)
        self.edges: list[tuple[int, bool]] = []
        self.irq = IrqLine(lambda level: self.edges.append((self.time.now(), level)))
        self.log = AccessLog()
        self.nmi: list[bool] = []
        self.chip = Rtc(self.clock, self.irq, self.log, start, {0x34: 0x12, 0x0F: 0x05}, self.nmi.append)
        self.ports = self.chip.blocks["ports"]

    def __getitem__(self, index: int) -> int:
        self.ports.write(0, 1, index)
        return self.ports.read(1, 1)

    def __setitem__(self, index: int, value: int) -> None:
        self.ports.write(0, 2, index | value << 8)

    def wait(self, ns: int) -> None:
        """Let time pass, stopping at every deadline."""
        end = self.time.now() + ns
        while (deadline := self.clock.next_deadline()) is not None and deadline <= end:
            self.time.advance(max(deadline - self.time.now(), 0))
            self.clock.run_due()
        self.time.advance(end - self.time.now())

    def date(self) -> list[int]:
        return [self[index] for index in (CENTURY, 9, 8, 7, 6, 4, 2, 0)]


@pytest.fixture
def rtc() -> Bench:
    return Bench()


def test_calendar_counts_over_the_end_of_february(rtc: Bench) -> None:
    assert rtc.date() == [0x20, 0x26, 0x02, 0x28, 7, 0x23, 0x59, 0x58]
    rtc.wait(2 * SECOND)
    assert rtc.date() == [0x20, 0x26, 0x03, 0x01, 1, 0x00, 0x00, 0x00]


def test_data_modes_and_hour_modes(rtc: Bench) -> None:
    rtc[B] = 0x06                                    # binary, 24 hours
    assert (rtc[4], rtc[2], rtc[CENTURY]) == (23, 59, 20)
    rtc[B] = 0x04                                    # binary, 12 hours
    assert rtc[4] == 11 | 0x80
    rtc[B] = 0x00                                    # BCD, 12 hours
    assert rtc[4] == 0x91
    rtc.wait(2 * SECOND)
    assert rtc[4] == 0x12                            # midnight is 12 AM


def test_set_holds_the_registers_and_its_end_starts_from_them(rtc: Bench) -> None:
    rtc.wait(SECOND // 4)
    rtc[B] = 0x82
    rtc.wait(10 * SECOND)
    assert rtc[0] == 0x58
    for index, value in ((0, 0x30), (2, 0x15), (4, 0x12), (6, 2), (7, 0x29), (8, 0x02), (9, 0x24), (CENTURY, 0x20)):
        rtc[index] = value
    rtc[B] = 0x02
    assert rtc.date() == [0x20, 0x24, 0x02, 0x29, 2, 0x12, 0x15, 0x30]
    rtc.wait(3 * SECOND // 4)                        # the divider went on: 3/4 s to the next update
    assert rtc[0] == 0x31


def test_writing_without_set_takes_effect_at_once(rtc: Bench) -> None:
    rtc[0] = 0x10
    assert rtc.date()[-3:] == [0x23, 0x59, 0x10]


def test_impossible_times_are_noted_and_bounded(rtc: Bench) -> None:
    rtc[8] = 0x13
    assert rtc[8] == 0x12 and ("rtc", "MONTH", "no such time, the nearest is taken") in rtc.log.counts
    rtc[B] = 0x82
    rtc[8], rtc[7] = 0x02, 0x31
    rtc[B] = 0x02
    assert (rtc[8], rtc[7]) == (0x02, 0x28)
    rtc[CENTURY], rtc[9] = 0, 0
    assert rtc[9] in {0, 1}


def test_update_in_progress_warns_before_each_update(rtc: Bench) -> None:
    assert not rtc[A] & 0x80
    rtc.wait(SECOND - UPDATE)
    assert rtc[A] & 0x80 and rtc[0] == 0x58
    rtc.wait(UPDATE)
    assert not rtc[A] & 0x80 and rtc[0] == 0x59
    rtc[B] = 0x82
    rtc.wait(SECOND - 1)
    assert not rtc[A] & 0x80


def test_divider_reset_holds_time_and_the_first_update_follows_half_a_second_later(rtc: Bench) -> None:
    rtc[A] = 0x70
    rtc.wait(5 * SECOND)
    assert rtc[0] == 0x58
    rtc[A] = 0x20
    rtc.wait(SECOND // 2 - 1)
    assert rtc[0] == 0x58
    rtc.wait(1)
    assert rtc[0] == 0x59


@pytest.mark.parametrize(("select", "rate"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (13, 8), (15, 2)])
def test_periodic_interrupt_rates(rtc: Bench, select: int, rate: int) -> None:
    rtc[A], rtc[B] = 0x20 | select, 0x42
    interrupts = 0
    end = SECOND // 2
    while (deadline := rtc.clock.next_deadline()) is not None and deadline <= end:
        rtc.wait(deadline - rtc.time.now())
        assert rtc.irq.level and rtc[C] == 0xC0 and not rtc.irq.level
        interrupts += 1
    assert interrupts == rate // 2


def test_register_a_0_has_no_periodic_flag(rtc: Bench) -> None:
    rtc[A], rtc[B] = 0x20, 0x42
    rtc.wait(SECOND // 2)
    assert rtc[C] == 0 and rtc.clock.next_deadline() is None


def test_flags_are_set_without_their_enables(rtc: Bench) -> None:
    rtc.wait(SECOND)
    assert rtc[C] == 0x50 and rtc[C] == 0x00 and not rtc.edges


def test_update_ended_interrupt(rtc: Bench) -> None:
    rtc[B] = 0x12
    rtc.wait(SECOND)
    assert rtc.edges == [(SECOND, True)] and rtc[C] & 0x90 == 0x90
    assert not rtc.irq.level
    rtc[B] = 0x92
    assert rtc[B] == 0x82                            # SET clears UIE


@pytest.mark.parametrize(("hour", "minute", "second", "after"), [
    (0x00, 0x00, 0x01, 3), (0xFF, 0xFF, 0xFF, 1), (0xC0, 0xC0, 0x05, 7), (0xC0, 0x01, 0x00, 62), (0x23, 0x59, 0x58, 86_400), (0x02, 0x00, 0x00, 7202)])
def test_alarm_with_and_without_dont_care(rtc: Bench, hour: int, minute: int, second: int, after: int) -> None:
    rtc[5], rtc[3], rtc[1], rtc[B] = hour, minute, second, 0x22
    rtc.wait(after * SECOND - 1)
    assert not rtc.irq.level
    rtc.wait(1)
    assert rtc.irq.level and rtc[C] & 0xA0 == 0xA0


def test_an_alarm_that_no_second_matches(rtc: Bench) -> None:
    rtc[5], rtc[B] = 0x37, 0x22
    assert rtc.clock.next_deadline() is None
    rtc.wait(100_000 * SECOND)
    assert not rtc[C] & 0x20


def test_reset_pin_clears_enables_and_flags_but_not_time_and_memory(rtc: Bench) -> None:
    rtc[B], rtc[0x40] = 0x72, 0xAA
    rtc.wait(SECOND)
    rtc.chip.reset()
    assert not rtc.irq.level and rtc[B] == 0x02 and rtc[C] == 0 and rtc[0x40] == 0xAA and rtc[0] == 0x59


def test_memory_and_what_the_board_put_there(rtc: Bench) -> None:
    assert rtc[0x34] == 0x12 and rtc[0x0F] == 0x05 and rtc[0x7F] == 0
    rtc[0x7F], rtc[0x0E] = 0x55, 0x66
    assert (rtc[0x7F], rtc[0x0E], rtc[D]) == (0x55, 0x66, 0x80)


def test_bit_7_of_port_70_masks_nmi_and_is_no_part_of_the_index(rtc: Bench) -> None:
    assert rtc[0x8D] == 0x80 and rtc.nmi == [True]
    assert rtc[0x0D] == 0x80 and rtc.nmi == [True, False]
    assert rtc.ports.read(0, 1) == 0xFF


def test_registers_c_and_d_are_read_only(rtc: Bench) -> None:
    rtc[C], rtc[D] = 0xFF, 0x00
    assert rtc[D] == 0x80 and rtc.log.total() == 2


def test_peek_does_not_clear_register_c(rtc: Bench) -> None:
    rtc.wait(SECOND)
    rtc.ports.write(0, 1, C)
    saved = rtc.chip.save()
    assert rtc.ports.peek(1, 1) == 0x50 and rtc.chip.save() == saved and rtc.ports.read(1, 1) == 0x50


def test_snapshot_carries_the_calendar_and_the_alarm(rtc: Bench) -> None:
    rtc[5], rtc[3], rtc[1], rtc[B] = 0x00, 0x00, 0x01, 0x22
    other = Bench(0)
    other.chip.restore(rtc.chip.save())
    assert other.date() == rtc.date()
    other.wait(3 * SECOND)
    assert other.irq.level
