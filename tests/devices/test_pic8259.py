"""The 8259A pair, by the clauses of its data sheet (order 231468)."""

from __future__ import annotations

import pytest

from devices.core.log import AccessLog
from devices.pic8259 import Pic8259, Pic8259Pair


def start(pair: Pic8259Pair, icw4: int = 0x01, masks: tuple[int, int] = (0, 0)) -> None:
    """Initialize as a PC's firmware does: vectors 0x20 and 0x28."""
    for chip, base, third, mask in ((pair.master, 0x20, 0x04, masks[0]), (pair.slave, 0x28, 0x02, masks[1])):
        ports = chip.blocks["ports"]
        ports.write(0, 1, 0x11)
        for word in (base, third, icw4, mask):
            ports.write(1, 1, word)


@pytest.fixture
def pair() -> Pic8259Pair:
    made = Pic8259Pair(AccessLog())
    start(made)
    return made


def command(chip: Pic8259, value: int) -> None:
    chip.blocks["ports"].write(0, 1, value)


def status(chip: Pic8259, ocw3: int) -> int:
    command(chip, ocw3)
    return chip.blocks["ports"].read(0, 1)


def irr(chip: Pic8259) -> int:
    return status(chip, 0x0A)


def isr(chip: Pic8259) -> int:
    return status(chip, 0x0B)


def test_nothing_interrupts_before_initialization() -> None:
    pair = Pic8259Pair(AccessLog())
    pair.lines[1].raise_()
    assert pair.vector() is None and not pair.intr.level


def test_initialization_sequence_icw1_to_icw4(pair: Pic8259Pair) -> None:
    state = pair.slave.state
    assert (state.icw1, state.icw2, state.icw3, state.icw4, state.ocw1, state.awaited) == (0x11, 0x28, 0x02, 0x01, 0, 0)


def test_icw1_single_mode_has_no_icw3(pair: Pic8259Pair) -> None:
    ports = pair.master.blocks["ports"]
    for port, value in ((0, 0x13), (1, 0x50), (1, 0x01), (1, 0xFB)):
        ports.write(port, 1, value)
    assert (pair.master.state.icw4, pair.master.state.ocw1) == (0x01, 0xFB)
    pair.lines[9].raise_()                                     # a master without slaves gives level 2's vector itself
    assert pair.acknowledge() == 0x52


def test_icw1_without_ic4_and_restart_clears(pair: Pic8259Pair) -> None:
    start(pair, icw4=0x03)
    pair.lines[3].raise_()
    pair.master.blocks["ports"].write(1, 1, 0x55)
    command(pair.master, 0x10)
    pair.master.blocks["ports"].write(1, 1, 0x20)
    pair.master.blocks["ports"].write(1, 1, 0x04)
    state = pair.master.state
    assert (state.ocw1, state.icw4 & 2, irr(pair.master), state.awaited) == (0, 0, 0, 0)
    assert pair.vector() is None                               # "an IR input must make a low-to-high transition" after ICW1


def test_fully_nested_mode(pair: Pic8259Pair) -> None:
    pair.lines[4].raise_()
    assert pair.acknowledge() == 0x24
    pair.lines[5].raise_()
    assert pair.vector() is None                               # lower priority waits
    pair.lines[1].raise_()
    assert pair.intr.level and pair.acknowledge() == 0x21      # higher priority interrupts
    assert isr(pair.master) == 0x12
    command(pair.master, 0x20)                                 # the highest in service ends
    assert isr(pair.master) == 0x10 and pair.vector() is None
    command(pair.master, 0x20)
    assert pair.vector() == 0x25


def test_cascade(pair: Pic8259Pair) -> None:
    pair.lines[12].raise_()
    assert pair.acknowledge() == 0x2C
    assert (isr(pair.master), isr(pair.slave)) == (0x04, 0x10)
    pair.lines[10].raise_()
    assert pair.vector() is None                               # higher in the slave, but its master is busy with it
    command(pair.slave, 0x20)
    command(pair.master, 0x20)
    assert pair.acknowledge() == 0x2A


def test_special_fully_nested_mode(pair: Pic8259Pair) -> None:
    start(pair, icw4=0x11)
    pair.lines[12].raise_()
    pair.acknowledge()
    pair.lines[10].raise_()
    assert pair.acknowledge() == 0x2A                          # the slave's higher request gets through
    assert isr(pair.slave) == 0x14


def test_specific_end_of_interrupt(pair: Pic8259Pair) -> None:
    for irq in (5, 3):
        pair.lines[irq].raise_()
        pair.acknowledge()
    command(pair.master, 0x65)
    assert isr(pair.master) == 0x08


def test_interrupt_mask_register(pair: Pic8259Pair) -> None:
    ports = pair.master.blocks["ports"]
    pair.lines[6].raise_()
    ports.write(1, 1, 0x40)
    assert ports.read(1, 1) == 0x40 and pair.vector() is None and irr(pair.master) == 0x40
    ports.write(1, 1, 0)
    assert pair.vector() == 0x26


def test_edge_triggered_mode(pair: Pic8259Pair) -> None:
    pair.lines[7].raise_()
    pair.acknowledge()
    command(pair.master, 0x20)
    assert pair.vector() is None                               # still high: no new edge
    pair.lines[7].pulse()
    assert pair.vector() is None and not pair.lines[7].level   # it was high already: pulse was no rise
    pair.lines[7].pulse()
    assert pair.vector() == 0x27


def test_elcr_level_triggered_mode(pair: Pic8259Pair) -> None:
    pair.slave.blocks["elcr"].write(0, 1, 0xFF)
    pair.master.blocks["elcr"].write(0, 1, 0xFF)
    assert (pair.master.blocks["elcr"].read(0, 1), pair.slave.blocks["elcr"].read(0, 1)) == (0xF8, 0xDE)
    pair.lines[10].raise_()
    pair.acknowledge()
    for chip in (pair.slave, pair.master):
        command(chip, 0x20)
    assert pair.vector() == 0x2A                               # still asks
    pair.lines[10].lower()
    assert pair.vector() is None                               # withdrawn


def test_spurious_level_7_and_15(pair: Pic8259Pair) -> None:
    assert pair.acknowledge() == 0x27 and isr(pair.master) == 0
    pair.slave.blocks["elcr"].write(0, 1, 0x02)
    pair.lines[9].raise_()
    pair.slave.state.lines = 0                                 # gone between the master's and the slave's part of the cycle
    assert pair.acknowledge() == 0x2F
    assert (isr(pair.master), isr(pair.slave)) == (0x04, 0)    # the master serves its level 2 and needs an EOI


def test_automatic_rotation(pair: Pic8259Pair) -> None:
    for irq in (6, 4):
        pair.lines[irq].raise_()
    assert pair.acknowledge() == 0x24
    command(pair.master, 0xA0)                                 # rotate on non-specific EOI: 4 is the lowest now
    pair.lines[4].pulse()
    pair.lines[4].pulse()
    assert pair.acknowledge() == 0x26
    command(pair.master, 0x20)
    assert pair.acknowledge() == 0x24


def test_specific_rotation_and_rotate_on_specific_eoi(pair: Pic8259Pair) -> None:
    command(pair.master, 0xC5)                                 # level 5 is the lowest, 6 the highest
    for irq in (0, 6):
        pair.lines[irq].raise_()
    assert pair.acknowledge() == 0x26
    command(pair.master, 0xE6)
    assert pair.master.state.lowest == 6 and isr(pair.master) == 0
    assert pair.acknowledge() == 0x20


def test_automatic_eoi_and_rotation_in_it(pair: Pic8259Pair) -> None:
    start(pair, icw4=0x03)
    command(pair.master, 0x80)
    for irq in (1, 3):
        pair.lines[irq].raise_()
    assert pair.acknowledge() == 0x21 and isr(pair.master) == 0
    assert pair.master.state.lowest == 1
    assert pair.acknowledge() == 0x23
    command(pair.master, 0x00)
    pair.lines[1].lower()
    pair.lines[1].raise_()
    pair.acknowledge()
    assert pair.master.state.lowest == 3                       # rotation in AEOI was cleared


def test_special_mask_mode(pair: Pic8259Pair) -> None:
    pair.lines[4].raise_()
    pair.acknowledge()
    pair.lines[6].raise_()
    pair.master.blocks["ports"].write(1, 1, 0x10)
    assert pair.vector() is None
    command(pair.master, 0x68)
    assert pair.acknowledge() == 0x26                          # lower levels get through while 4 is masked
    command(pair.master, 0x20)
    assert isr(pair.master) == 0x10                            # a masked level is not ended by a non-specific EOI
    command(pair.master, 0x48)
    assert not pair.master.state.special_mask


def test_poll_command(pair: Pic8259Pair) -> None:
    assert status(pair.master, 0x0C) == 0x07
    pair.lines[5].raise_()
    command(pair.master, 0x0C)
    ports = pair.master.blocks["ports"]
    assert ports.peek(0, 1) == 0x85 and ports.read(0, 1) == 0x85
    assert ports.read(0, 1) == 0x00 and isr(pair.master) == 0x20        # one poll; IRR after it
    pair.lines[9].raise_()
    assert status(pair.slave, 0x0C) == 0x81 and isr(pair.slave) == 0x02


def test_acknowledged_meanwhile_is_accounted_before_anything_changes(pair: Pic8259Pair) -> None:
    taken: list[int] = []
    pair.attach(lambda: taken.append(pair.acknowledge()) if not taken else None, lambda: None)
    pair.slave.blocks["elcr"].write(0, 1, 0x02)
    pair.lines[9].raise_()
    pair.lines[9].lower()                                      # the processor took it while the line was high
    assert taken == [0x29] and pair.slave.state.in_service == 2


def test_a_change_of_vector_is_told_although_intr_stays_high(pair: Pic8259Pair) -> None:
    heard: list[int | None] = []
    pair.attach(lambda: None, lambda: heard.append(pair.vector()))
    pair.lines[9].raise_()
    pair.lines[1].raise_()
    pair.master.blocks["ports"].write(1, 1, 0xFF)
    assert heard == [0x29, 0x21, None]


def test_mcs80_mode_is_not_modelled(pair: Pic8259Pair) -> None:
    start(pair, icw4=0x00)
    assert any("UPM not modelled" in line for line in pair.master.log.lines)
