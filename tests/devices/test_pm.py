"""ICH9 power management, by ACPI 6.5 section 4.8 and the ICH9 data sheet 13.8.3."""

from __future__ import annotations

import pytest

from devices.core.clock import SECOND, ManualTime, VirtualClock
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.pm import HERTZ, AcpiPm

PM1_STS, PM1_EN, PM1_CNT, PM1_TMR, GPE0_STS, GPE0_EN, SMI_EN = 0x00, 0x02, 0x04, 0x08, 0x20, 0x28, 0x30


class Bench:
    def __init__(self, wide: bool = False) -> None:
        self.time = ManualTime()
        self.clock = VirtualClock(self.time)
        self.sci = IrqLine()
        self.log = AccessLog()
        self.off = 0
        self.chip = AcpiPm(self.clock, self.sci, self.log, self._off, wide)
        self.acpi, self.apm = self.chip.blocks["registers"], self.chip.blocks["smi"]

    def _off(self) -> None:
        self.off += 1

    def wait(self, ns: int) -> None:
        self.time.advance(ns)
        self.clock.run_due()


@pytest.fixture
def pm() -> Bench:
    return Bench()


def test_4_8_3_3_timer_has_24_bits(pm: Bench) -> None:
    pm.wait(SECOND)
    assert pm.acpi.read(PM1_TMR, 4) == HERTZ
    pm.wait(9 * SECOND)
    assert pm.acpi.read(PM1_TMR, 4) == 10 * HERTZ % (1 << 24)
    pm.acpi.write(PM1_TMR, 4, 0)
    assert pm.acpi.read(PM1_TMR, 4) == 10 * HERTZ % (1 << 24)


def test_4_8_3_3_or_32_bits() -> None:
    pm = Bench(wide=True)
    pm.wait(10 * SECOND)
    assert pm.acpi.read(PM1_TMR, 4) == 10 * HERTZ


def test_4_8_3_3_highest_bit_changing_is_an_overflow(pm: Bench) -> None:
    half = (1 << 23) * SECOND // HERTZ
    pm.wait(half - 1000)
    assert pm.acpi.read(PM1_STS, 2) == 0
    pm.wait(2000)
    assert pm.acpi.read(PM1_STS, 2) == 1
    pm.acpi.write(PM1_STS, 2, 1)
    assert pm.acpi.read(PM1_STS, 2) == 0
    pm.wait(half)
    assert pm.acpi.read(PM1_STS, 2) == 1


def test_overflow_raises_sci_by_itself_when_enabled(pm: Bench) -> None:
    pm.acpi.write(PM1_CNT, 2, 1)
    pm.acpi.write(PM1_EN, 2, 1)
    due = pm.clock.next_deadline()
    assert due is not None
    pm.wait(due - 1)
    assert not pm.sci.level
    pm.wait(1)
    assert pm.sci.level
    pm.acpi.write(PM1_STS, 2, 1)
    assert not pm.sci.level and pm.clock.next_deadline() == ((1 << 24) * SECOND + HERTZ - 1) // HERTZ


def test_4_8_2_5_handshake_at_the_smi_command_port(pm: Bench) -> None:
    assert not pm.acpi.read(PM1_CNT, 2) & 1
    pm.apm.write(0, 1, 2)
    assert pm.acpi.read(PM1_CNT, 2) == 1
    pm.apm.write(0, 1, 3)
    assert pm.acpi.read(PM1_CNT, 2) == 0
    pm.apm.write(0, 2, 0x5577)
    assert pm.apm.read(0, 2) == 0x5577 and pm.log.total() == 1


def test_4_8_2_2_power_button(pm: Bench) -> None:
    pm.acpi.write(PM1_EN, 2, 0x100)
    pm.chip.power_button()
    assert not pm.sci.level                                  # ACPI is off: that would have been an SMI
    pm.apm.write(0, 1, 2)
    assert pm.sci.level and pm.acpi.read(PM1_STS, 2) == 0x100
    pm.acpi.write(PM1_STS, 2, 0x100)
    assert not pm.sci.level


def test_status_bits_are_cleared_by_ones_alone(pm: Bench) -> None:
    pm.chip.power_button()
    pm.chip.rtc_alarm()
    pm.acpi.write(PM1_STS, 2, 0)
    assert pm.acpi.read(PM1_STS, 2) == 0x500
    pm.acpi.write(PM1_STS + 1, 1, 0x04)                      # a byte of it
    assert pm.acpi.read(PM1_STS, 2) == 0x100


def test_a_write_of_status_and_enable_together(pm: Bench) -> None:
    pm.chip.power_button()
    pm.acpi.write(PM1_STS, 4, 0x0120_0100)
    assert pm.acpi.read(PM1_STS, 2) == 0 and pm.acpi.read(PM1_EN, 2) == 0x0120


@pytest.mark.parametrize("kind", [0, 7])
def test_4_8_3_2_s5_powers_off(pm: Bench, kind: int) -> None:
    pm.acpi.write(PM1_CNT, 2, kind << 10 | 1)
    assert pm.off == 0
    pm.acpi.write(PM1_CNT, 2, 1 << 13 | kind << 10 | 1)
    assert pm.off == 1 and pm.acpi.read(PM1_CNT, 2) == kind << 10 | 1


def test_other_sleep_states_wake_at_once_and_are_noted(pm: Bench) -> None:
    pm.acpi.write(PM1_CNT, 2, 1 << 13 | 5 << 10)
    assert pm.off == 0 and pm.acpi.read(PM1_STS, 2) == 0x8000 and pm.log.total() == 1


def test_4_8_4_general_purpose_events(pm: Bench) -> None:
    pm.acpi.write(PM1_CNT, 2, 1)
    pm.acpi.write(GPE0_EN, 4, 1 << 2)
    pm.chip.general_event(1)
    assert not pm.sci.level
    pm.chip.general_event(2)
    assert pm.sci.level and pm.acpi.read(GPE0_STS, 8) == 6
    pm.acpi.write(GPE0_STS, 1, 4)
    assert not pm.sci.level and pm.acpi.read(GPE0_STS, 1) == 2


def test_firmware_is_told_that_smm_was_set_up(pm: Bench) -> None:
    assert pm.acpi.read(SMI_EN, 4) == 0x20


def test_snapshot_in_the_middle(pm: Bench) -> None:
    pm.acpi.write(PM1_CNT, 2, 1)
    pm.acpi.write(PM1_EN, 2, 0x101)
    pm.chip.power_button()
    other = Bench()
    other.chip.restore(pm.chip.save())
    assert other.sci.level
    other.acpi.write(PM1_STS, 2, 0x100)
    assert not other.sci.level and other.clock.next_deadline() == pm.clock.next_deadline()
    other.chip.reset()
    assert not other.sci.level and other.clock.next_deadline() is None
