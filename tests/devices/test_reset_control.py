"""Ports 0xCF9 and 0x92."""

from __future__ import annotations

import pytest

from devices.core.log import AccessLog
from devices.core.reset import ResetKind
from devices.reset_control import ResetControl, SystemControlPortA


@pytest.mark.parametrize(("first", "second", "kind"), [(0x00, 0x04, ResetKind.INIT), (0x02, 0x06, ResetKind.HARD), (0x0A, 0x0E, ResetKind.POWER_CYCLE)])
def test_13_7_1_a_rising_rst_cpu_resets_as_the_other_bits_say(first: int, second: int, kind: ResetKind) -> None:
    asked: list[ResetKind] = []
    chip = ResetControl(AccessLog(), asked.append)
    port = chip.blocks["port"]
    port.write(0, 1, first)
    assert not asked
    port.write(0, 1, second)
    port.write(0, 1, second)
    assert asked == [kind], "only the edge counts"
    assert port.read(0, 1) == second
    chip.reset()
    assert port.read(0, 1) == 0


def test_port_92_resets_on_the_edge_and_keeps_a20() -> None:
    asked: list[ResetKind] = []
    port = SystemControlPortA(AccessLog(), asked.append).blocks["port"]
    assert port.read(0, 1) == 0, "nothing is asked of A20 after a reset; the keyboard controller's output port holds it up"
    port.write(0, 1, 0x02)
    assert port.read(0, 1) == 0x02 and not asked
    port.write(0, 1, 0x03)
    port.write(0, 1, 0x03)
    assert asked == [ResetKind.INIT]
