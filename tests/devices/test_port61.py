"""Port 0x61, ICH9 data sheet 13.7.1."""

from __future__ import annotations

import pytest

from devices.core.clock import ManualTime, VirtualClock, cycle_start
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.pit8254 import HERTZ, Pit8254
from devices.port61 import REFRESH, Port61


class Bench:
    def __init__(self) -> None:
        self.time = ManualTime()
        clock = VirtualClock(self.time)
        self.log = AccessLog()
        self.pit = Pit8254(clock, IrqLine(), self.log)
        self.nmis = 0
        self.chip = Port61(clock, self.pit, self.log, self._nmi)
        self.block = self.chip.blocks["registers"]

    def _nmi(self) -> None:
        self.nmis += 1


@pytest.fixture
def port() -> Bench:
    return Bench()


def test_bit_0_gates_channel_2_and_bit_5_shows_its_output(port: Bench) -> None:
    port.pit.blocks["registers"].write(3, 1, 0xB0)
    port.pit.blocks["registers"].write(2, 1, 99)
    port.pit.blocks["registers"].write(2, 1, 0)
    port.time.advance(1_000_000)
    assert port.block.read(0, 1) & 0x2F == 0x00
    port.block.write(0, 1, 1)
    port.time.advance(cycle_start(98, HERTZ))
    assert port.block.read(0, 1) & 0x2F == 0x01
    port.time.advance(2_000)
    assert port.block.read(0, 1) & 0x2F == 0x21


def test_bit_4_toggles_with_each_refresh(port: Bench) -> None:
    seen = []
    for _ in range(4):
        seen.append(port.block.read(0, 1) >> 4 & 1)
        port.time.advance(REFRESH)
    assert seen == [0, 1, 0, 1]


def test_writes_cannot_set_the_status_bits(port: Bench) -> None:
    port.block.write(0, 1, 0xF3)
    assert port.block.read(0, 1) & 0xCF == 0x03


def test_errors_are_nmis_unless_masked_and_masking_clears_them(port: Bench) -> None:
    port.chip.system_error()
    port.chip.channel_check()
    assert port.nmis == 2 and port.block.read(0, 1) & 0xC0 == 0xC0
    port.block.write(0, 1, 0x04)
    assert port.block.read(0, 1) & 0xC0 == 0x40
    port.block.write(0, 1, 0x0C)
    port.chip.system_error()
    port.chip.channel_check()
    assert port.nmis == 2 and port.block.read(0, 1) & 0xC0 == 0
