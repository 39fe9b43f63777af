"""The board's wires: what reaches what. Chips are driven through the buses, as a guest does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devices.core.bus import Bus
from machine.address_map import ECAM, FIRST_PCI_GSI, HPET_BASE, MEMORY, PORTS, VGA_TEXT, Place
from machine.board import Board
from machine.boot import Firmware
from machine.configuration import Configuration
from machine.machine import Machine

HALT = bytes(0x10000 - 16) + b"\xf4" * 16
CONF, T0, T1 = HPET_BASE + 0x10, HPET_BASE + 0x100, HPET_BASE + 0x120
ENABLE, LEGACY, INTERRUPT, PERIODIC, SETS = 1, 2, 1 << 2, 1 << 3, 1 << 6
MS, MS_IN_COUNTS = 1_000_000, 14_319


class Pc:
    """A board and time that a test passes."""

    def __init__(self) -> None:
        self.machine = Machine(Firmware(HALT), Configuration(memory=16 << 20, cpus=2, clock="instructions"))
        self.board: Board = self.machine.board
        self.ports, self.mmio = self.machine.ports, self.machine.mmio
        self.edges: dict[str, int] = {}
        for line in (*self.board.isa, *self.board.ioapic.pins):
            line.connect(lambda level, name=line.name: self._heard(name, level))       # type: ignore[misc]

    def _heard(self, name: str, level: bool) -> None:
        self.edges[name] = self.edges.get(name, 0) + level

    def wait(self, ns: int) -> None:
        end = self.machine.time.now() + ns
        while True:
            due = self.machine.clock.next_deadline()
            if due is None or due > end:
                break
            self.machine.time.skip_to(due)
            self.machine.clock.run_due()
        self.machine.time.skip_to(end)

    def configuration(self, device: int, register: int, value: int) -> None:
        self.ports.write(0xCF8, 4, 1 << 31 | device << 11 | register)
        self.ports.write(0xCFC, 4, value)


@pytest.fixture
def pc() -> Iterator[Pc]:
    pc = Pc()
    yield pc
    pc.machine.close()


def overlaps(one: Place, other: Place) -> bool:
    return one.base < other.base + other.length and other.base < one.base + one.length


def test_the_table_of_addresses_is_what_is_mapped(pc: Pc) -> None:
    for bus, places in ((pc.ports, PORTS), (pc.mmio, MEMORY)):
        assert {(place.base, place.length, place.device) for place in places} <= {(one.base, one.length, one.name) for one in bus.regions()}
        plain = [place for place in places if not place.exact]
        assert not [(one, other) for one in plain for other in plain if one is not other and overlaps(one, other)]
        assert [place.base for place in places] == sorted(place.base for place in places), "a table is read by address"


def test_the_timer_and_the_clock_have_their_interrupts_until_the_hpet_replaces_them(pc: Pc) -> None:
    """HPET 1.0a, 2.2.2.1: comparator 0 takes IRQ 0 and comparator 1 IRQ 8; the 8254 and the clock are cut off."""
    pc.ports.write(0x43, 1, 0x34)                                           # 8254: 1 kHz
    for byte in (0xA9, 0x04):
        pc.ports.write(0x40, 1, byte)
    for index, value in ((0x0A, 0x26), (0x0B, 0x42)):                       # clock: 1024 Hz
        pc.ports.write(0x70, 1, index)
        pc.ports.write(0x71, 1, value)
    pc.wait(10 * MS)
    assert 9 <= pc.edges["IRQ0"] <= 11 and 9 <= pc.edges["GSI2"] <= 11 and pc.edges["IRQ8"] == 1, "the clock waits for register C to be read"
    pc.edges.clear()

    pc.mmio.write(T0, 4, INTERRUPT | PERIODIC | SETS)
    pc.mmio.write(T0 + 8, 8, 5 * MS_IN_COUNTS)
    pc.mmio.write(T1, 4, INTERRUPT | PERIODIC | SETS)
    pc.mmio.write(T1 + 8, 8, 2 * MS_IN_COUNTS)
    pc.mmio.write(CONF, 4, ENABLE | LEGACY)
    pc.edges.clear()
    pc.wait(20 * MS + MS // 2)
    assert pc.edges == {"IRQ0": 4, "GSI2": 4, "IRQ8": 10, "GSI8": 10}

    pc.mmio.write(CONF, 4, 0)
    pc.edges.clear()
    pc.wait(10 * MS)
    assert 9 <= pc.edges["IRQ0"] <= 11, "the 8254 is connected again"


def test_a_reset_gives_the_timer_its_interrupt_back(pc: Pc) -> None:
    pc.mmio.write(CONF, 4, ENABLE | LEGACY)
    pc.board.reset()
    pc.edges.clear()
    pc.ports.write(0x43, 1, 0x34)
    for byte in (0xA9, 0x04):
        pc.ports.write(0x40, 1, byte)
    pc.wait(10 * MS)
    assert 9 <= pc.edges["IRQ0"] <= 11


def test_an_hpet_pin_is_shared_with_pci(pc: Pc) -> None:
    """Pin 20 is PIRQE# too: high while either wants it, and a comparator's edge is none while PCI holds it."""
    pin = FIRST_PCI_GSI + 4
    pc.board.lpc.pirq[4].raise_()
    assert pc.board.ioapic.pins[pin].level
    pc.mmio.write(T0, 4, INTERRUPT | 2 | pin << 9)                          # level
    pc.mmio.write(T0 + 8, 8, MS_IN_COUNTS)
    pc.mmio.write(CONF, 4, ENABLE)
    pc.wait(2 * MS)
    pc.board.lpc.pirq[4].lower()
    assert pc.board.ioapic.pins[pin].level
    pc.mmio.write(HPET_BASE + 0x20, 4, 1)
    assert not pc.board.ioapic.pins[pin].level


def test_keys_interrupt_and_the_controller_resets_the_processors(pc: Pc) -> None:
    pc.ports.write(0x60, 1, 0xF4)                                           # the keyboard reports keys
    assert pc.ports.read(0x60, 1) == 0xFA
    pc.edges.clear()
    pc.board.i8042.keyboard.key(30, True)
    assert pc.edges == {"IRQ1": 1, "GSI1": 1} and pc.ports.read(0x64, 1) & 1
    assert pc.ports.read(0x60, 1) == 30, "set 1, as the controller translates"
    asked: list[object] = []
    pc.board.on_reset = asked.append
    pc.ports.write(0x64, 1, 0xFE)
    assert [kind.name for kind in asked] == ["INIT"]                        # type: ignore[attr-defined]


def test_text_shows_on_the_screen(pc: Pc) -> None:
    for at, letter in enumerate(b"Hello"):
        pc.mmio.write(VGA_TEXT + 160 + 2 * at, 2, 0x1F00 | letter)
    assert pc.machine.screen().lines()[:3] == ["", "Hello", ""]
    pc.ports.write(0x3D4, 2, 0x000D | 0x50 << 8)                            # start address, low: a word writes index and data
    assert pc.machine.screen().text().startswith("Hello\n")


def test_configuration_space_is_in_memory_where_the_host_bridge_puts_it(pc: Pc) -> None:
    lpc = 31 << 15
    assert pc.mmio.read(ECAM[0] + lpc, 4) == 0xFFFFFFFF
    pc.configuration(0, 0x60, ECAM[0] | 1)
    assert pc.mmio.read(ECAM[0], 4) == 0x29C08086 and pc.mmio.read(ECAM[0] + lpc, 4) == 0x29188086
    assert pc.mmio.read(ECAM[0] + 0x100, 4) == 0xFFFFFFFF, "beyond the 256 bytes of a conventional function"
    pc.board.reset()
    assert pc.mmio.read(ECAM[0], 4) == 0xFFFFFFFF


@pytest.mark.parametrize("base", [0, 0xF0000000])
def test_configuration_space_cannot_be_put_over_ram_or_other_devices(pc: Pc, base: int) -> None:
    ioapic = pc.mmio.read(0xFEC00000, 4)
    pc.configuration(0, 0x60, base | 1)
    assert pc.mmio.read(0xFEC00000, 4) == ioapic and ("pci-ecam", "", "put where something else is, or nothing can be") in pc.machine.log.counts


def test_the_acpi_block_cannot_be_put_over_other_devices(pc: Pc) -> None:
    pc.configuration(31, 0x40, 0x81)                                        # over the slave 8259A, among others
    assert pc.ports.read(0x608, 4) == 0xFFFFFFFF and ("pm.registers", "", "put where something else is, or nothing can be") in pc.machine.log.counts
    pc.configuration(31, 0x40, 0x601)
    assert pc.ports.read(0x608, 4) != 0xFFFFFFFF


def test_a_direct_boot_finds_what_firmware_would_have_set_up(pc: Pc) -> None:
    pc.board.as_firmware_leaves_it()
    assert pc.mmio.read(ECAM[0], 4) == 0x29C08086 and pc.ports.read(0x3FB, 1) == 3


def names(bus: Bus) -> set[str]:
    return {region.name for region in bus.regions()}


def test_every_chip_of_the_board_is_reached_by_some_address(pc: Pc) -> None:
    """PCI functions are reached through configuration space, local APICs through one address."""
    reached = {name.partition(".")[0] for name in names(pc.ports) | names(pc.mmio)} | {"host-bridge", "lpc", "lapic0", "lapic1"}
    assert {chip.name for chip in pc.board.chips} <= reached
    assert {chip.name for chip in pc.board.pci.functions.values()} == {"host-bridge", "lpc"}
