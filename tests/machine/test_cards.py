"""Cards in the PCI slots: a function with every kind of base address, DMA, a pin and MSI-X, wired by the board and driven as a guest does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.core.bus import BusDevice
from devices.pci import msix
from devices.pci.card import Card
from devices.pci.config_space import Bar
from launcher.arguments import parse
from machine import Configuration, Firmware, Machine, MachineError
from machine.address_map import PCI_PORTS, PCI_WINDOW
from machine.cards import cards_named
from machine.checkpoint import CheckpointError, digest
from machine.debug.monitor import Monitor
from machine.run_command import RunOptions, run
from machine.snapshot import SnapshotError
from machine.trace import Trace
from tests.machine.probe import PROBE, TABLE, Probe
from tests.machine.rom import rom

MIB = 1 << 20
MEMORY, PORTS, WIDE = 0xE0000000, 0xC000, 0x10_0000_0000
DECODE, MASTER = 3, 4
MISPLACED = "put where something else is, or nothing can be"


HALT = rom("cli; hlt")


class Pc:
    """A machine with cards, and configuration by mechanism 1."""

    def __init__(self, *cards: Card, boot: Any = None, **options: Any) -> None:
        self.machine = Machine(boot or Firmware(HALT), Configuration(**{"memory": 4 * MIB, "clock": "instructions", **options}, cards=cards))
        self.board = self.machine.board
        self.ports, self.mmio = self.machine.ports, self.machine.mmio

    def read(self, slot: int, register: int, size: int = 4) -> int:
        self.ports.write(0xCF8, 4, 1 << 31 | slot << 11 | register & 0xFC)
        return self.ports.read(0xCFC + (register & 3), size)

    def write(self, slot: int, register: int, value: int, size: int = 4) -> None:
        self.ports.write(0xCF8, 4, 1 << 31 | slot << 11 | register & 0xFC)
        self.ports.write(0xCFC + (register & 3), size, value)

    def set_up(self, slot: int = 1, command: int = DECODE | MASTER, offset: int = 0) -> None:
        """All base addresses, as a firmware gives them."""
        for register, value in ((0x10, MEMORY + offset), (0x14, PORTS + (offset >> 8)), (0x18, WIDE + offset & 0xFFFFFFFF), (0x1C, WIDE >> 32)):
            self.write(slot, register, value)
        self.write(slot, 4, command, 2)

    def noted(self, device: str) -> list[str]:
        return [kind for name, _, kind in self.machine.log.counts if name == device]


@pytest.fixture
def build() -> Iterator[Callable[..., Pc]]:
    made: list[Pc] = []

    def make(*cards: Card, **options: Any) -> Pc:
        made.append(Pc(*cards, **options))
        return made[-1]

    yield make
    for pc in made:
        pc.machine.close()


Build = Callable[..., Pc]


# --- base addresses ----------------------------------------------------------------------------------------------------------------------
def test_cards_have_the_slots_from_1_on_and_names_of_their_own(build: Build) -> None:
    pc = build(PROBE, PROBE)
    assert [pc.read(slot, 0) for slot in (0, 1, 2, 3, 31)] == [0x29C08086, 0x56781234, 0x56781234, 0xFFFFFFFF, 0x29188086]
    assert list(pc.board.cards) == ["probe", "probe-2"]
    assert [chip.name for chip in pc.board.chips][-4:] == ["probe", "probe msix", "probe-2", "probe-2 msix"]


def test_every_kind_of_base_address_leads_to_its_device(build: Build) -> None:
    pc = build(PROBE)
    assert pc.mmio.read(MEMORY, 4) == 0xFFFFFFFF
    pc.set_up()
    pc.mmio.write(MEMORY, 4, 0xC0FFEE)
    assert pc.mmio.read(WIDE, 4) == 0xC0FFEE and pc.mmio.read(WIDE + TABLE + 12, 4) == 1
    pc.ports.write(PORTS + 4, 4, 77)
    assert pc.ports.read(PORTS + 4, 4) == 77
    pc.write(1, 0x10, MEMORY + 0x10000)
    assert pc.mmio.read(MEMORY + 0x10000, 4) == 0xC0FFEE and pc.mmio.read(MEMORY, 4) == 0xFFFFFFFF
    pc.write(1, 4, MASTER, 2)
    assert pc.mmio.read(MEMORY + 0x10000, 4) == pc.mmio.read(WIDE, 4) == pc.ports.read(PORTS + 4, 4) == 0xFFFFFFFF


def test_a_base_address_of_64_bits_is_not_put_over_ram_above_4_gib(build: Build) -> None:
    pc = build(PROBE, memory=3 << 30)
    pc.machine.memory.write(0x1_0000_0000, b"here")
    for high, answers in ((1, False), (2, True)):
        pc.write(1, 0x1C, high)
        pc.write(1, 4, DECODE, 2)
        assert (pc.mmio.read(high << 32, 4) == 0) is answers
    assert pc.machine.memory.read(0x1_0000_0000, 4) == b"here" and pc.noted("probe BAR2") == [MISPLACED]


@pytest.mark.parametrize("base", [0x100000, 0xFEC00000, 0xFFFFF000])
def test_a_base_address_over_ram_rom_or_another_chip_answers_nowhere(build: Build, base: int) -> None:
    pc = build(PROBE)
    before = pc.machine.memory.read(base, 4), pc.mmio.read(0xFEC00000, 4)
    pc.write(1, 0x10, base)
    pc.write(1, 4, DECODE, 2)
    pc.mmio.write(MEMORY, 4, 1)
    assert (pc.machine.memory.read(base, 4), pc.mmio.read(0xFEC00000, 4)) == before and MISPLACED in pc.noted("probe BAR0")


def test_of_two_cards_at_one_place_the_first_answers_until_it_goes(build: Build) -> None:
    pc = build(PROBE, PROBE)
    pc.set_up(2)
    pc.mmio.write(MEMORY, 4, 2)
    pc.set_up(1)
    pc.mmio.write(MEMORY, 4, 1)
    assert pc.board.cards["probe"].save()["word"] == 1 and pc.board.cards["probe-2"].save()["word"] == 2
    assert pc.noted("probe BAR0") == ["put over probe-2 BAR0"]
    pc.write(1, 4, 0, 2)
    assert pc.mmio.read(MEMORY, 4) == 2, "the other one is heard again"
    pc.set_up(1, offset=0x10000)
    assert (pc.mmio.read(MEMORY, 4), pc.mmio.read(MEMORY + 0x10000, 4)) == (2, 1)


def test_a_reset_takes_all_addresses_away(build: Build) -> None:
    pc = build(PROBE)
    pc.set_up()
    pc.mmio.write(MEMORY + 4, 4, 0)
    pc.board.reset()
    assert pc.mmio.read(MEMORY, 4) == 0xFFFFFFFF and pc.read(1, 0x10) == 0 and pc.read(1, 4, 2) == 0
    assert not pc.board.cards["probe"].intx.level and not any(line.level for line in pc.board.lpc.pirq)


# --- DMA and interrupts --------------------------------------------------------------------------------------------------------------------
def test_dma_passes_while_the_function_is_a_bus_master_and_says_who_sends(build: Build) -> None:
    pc = build(PROBE, PROBE)
    lines: list[bytes] = []
    Trace(pc.machine, lines.append)
    pc.set_up(2, DECODE)
    pc.mmio.write(MEMORY, 4, 0x12345678)
    pc.mmio.write(MEMORY + 4, 4, 0x2000)
    assert pc.machine.memory.read(0x2000, 4) == bytes(4)
    assert pc.noted("probe-2") == ["DMA refused: the function is no bus master", "probe-2 is no bus master"]
    assert not [line for line in lines if b" dma " in line]
    pc.write(2, 4, DECODE | MASTER, 2)
    pc.mmio.write(MEMORY + 4, 4, 0x2000)
    assert pc.machine.memory.read(0x2000, 4) == b"\x78\x56\x34\x12"
    assert [line for line in lines if b" dma " in line] == [b"0 00:02.0 dma writes 4 bytes at 0x2000\n"]
    assert any(b"probe-2: TRANSFER <- 0x2000" in line for line in lines)


def test_dma_to_where_nothing_is_shows_in_status(build: Build) -> None:
    """6.2.3: a master whose access nobody takes sets RECEIVED_MASTER_ABORT, until software clears it."""
    pc = build(PROBE)
    pc.set_up()
    pc.mmio.write(MEMORY + 4, 4, 0xD0000000)
    assert pc.read(1, 6, 2) == 0x2010 and pc.noted("probe") == ["4 bytes there are not RAM"]
    pc.write(1, 6, 0x2000, 2)
    assert pc.read(1, 6, 2) == 0x0010


@pytest.mark.parametrize(("slot", "gsi"), [(1, 17), (2, 18), (7, 23), (8, 16)])
def test_inta_goes_to_the_pin_that_the_dsdt_names(build: Build, slot: int, gsi: int) -> None:
    """_PRT: GSI 16 + (slot + pin) mod 8."""
    pc = build(*[PROBE] * slot)
    pc.set_up(slot)
    pc.mmio.write(MEMORY + 4, 4, 0)
    assert [pin.name for pin in pc.board.ioapic.pins if pin.level] == [f"GSI{gsi}"] and pc.read(slot, 6, 2) & 8
    pc.mmio.write(MEMORY + 4, 4, 1)
    assert not pc.board.ioapic.pins[gsi].level


def test_cards_share_a_pin_and_the_8259a_hears_it_where_the_lpc_bridge_routes_it(build: Build) -> None:
    pc = build(*[PROBE] * 9)
    for slot in (1, 9):
        pc.set_up(slot, offset=0x10000 * slot if slot == 1 else 0)
    levels: list[bool] = []
    pc.board.pic.lines[11].connect(levels.append)
    pc.write(31, 0x61, 11, 1)                                                # PIRQB#
    pc.mmio.write(MEMORY + 4, 4, 0)
    pc.mmio.write(MEMORY + 0x10000 + 4, 4, 0)
    pc.mmio.write(MEMORY + 4, 4, 1)
    assert levels == [True] and pc.board.ioapic.pins[17].level
    pc.write(1, 4, DECODE | 1 << 10, 2)                                      # INTx disabled
    assert levels == [True, False] and not pc.board.ioapic.pins[17].level


def test_an_msix_message_reaches_the_local_apic(build: Build) -> None:
    pc = build(PROBE)
    pc.set_up()
    lapic = pc.board.lapics[0]
    pc.mmio.write(0xFEE000F0, 4, 0x1FF)
    for at, value in ((0, 0xFEE00000), (4, 0), (8, 0x45), (12, 0)):
        pc.mmio.write(WIDE + TABLE + at, 4, value)
    pc.write(1, 0x42, msix.ENABLE, 2)
    pc.write(1, 4, DECODE, 2)
    pc.mmio.write(MEMORY + 4, 4, 2)
    assert lapic.blocks["registers"].peek(0x220, 4) == 0, "no bus master, no message"
    pc.write(1, 4, DECODE | MASTER, 2)
    pc.mmio.write(MEMORY + 4, 4, 2)
    assert lapic.blocks["registers"].peek(0x220, 4) == 1 << 5
    nobody = "interrupt message that no local APIC takes"
    assert nobody not in pc.noted("probe")
    pc.mmio.write(WIDE + TABLE, 4, 0xFEE55000)
    pc.mmio.write(MEMORY + 4, 4, 2)
    assert nobody in pc.noted("probe")


# --- without firmware ------------------------------------------------------------------------------------------------------------------------
def test_a_boot_without_firmware_finds_everything_assigned(build: Build) -> None:
    pc = build(PROBE, PROBE, PROBE)
    pc.board.as_firmware_leaves_it()
    ranges: dict[bool, list[range]] = {False: [], True: []}
    for slot in (1, 2, 3):
        assert pc.read(slot, 4, 2) == DECODE and pc.read(slot, 0x3C, 1) == (10, 11, 11)[slot - 1]
        assert pc.read(slot, 0x1C) == 0
        for register, size in ((0x10, 0x1000), (0x14, 0x20), (0x18, 0x2000)):
            value = pc.read(slot, register)
            base = value & (~3 if value & 1 else ~0xF)
            assert base % size == 0
            ranges[bool(value & 1)].append(range(base, base + size))
        pc.mmio.write(pc.read(slot, 0x10), 4, slot)
        assert pc.mmio.read(pc.read(slot, 0x18) & ~0xF, 4) == slot
    for io, (first, last) in ((False, PCI_WINDOW), (True, PCI_PORTS)):
        assert all(first <= one.start and one.stop - 1 <= last for one in ranges[io])
        assert not [one for one in ranges[io] for other in ranges[io] if one is not other and one.start < other.stop and other.start < one.stop]
    routes = [pc.read(31, register, 1) for register in (0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6A, 0x6B)]
    assert routes == [10, 10, 11, 11] * 2 and pc.ports.read(0x4D1, 1) == 0b1100
    assert not pc.machine.log.counts


class Huge(Probe):
    """More than there is room for below 4 GiB."""

    BASES = (Bar(0, 1 << 31, wide=True), Bar(2, 0x1000))

    def region(self, bar: Bar) -> BusDevice:
        return self.blocks["registers"]


def test_what_does_not_fit_is_left_alone(build: Build) -> None:
    pc = build(Card("huge", Huge))
    pc.board.as_firmware_leaves_it()
    assert pc.read(1, 0x10) == 4 and pc.read(1, 0x18) == PCI_WINDOW[0] and not pc.machine.log.counts


# --- copies ----------------------------------------------------------------------------------------------------------------------------------
def test_a_checkpoint_and_a_fork_have_the_cards_as_they_were(build: Build) -> None:
    pc = build(PROBE, PROBE)
    pc.set_up(1)
    pc.set_up(2, offset=0x10000)
    pc.mmio.write(MEMORY, 4, 5)
    pc.mmio.write(MEMORY + 4, 4, 0)
    checkpoint, before = pc.machine.checkpoint(), digest(pc.machine)
    pc.set_up(2, offset=0x20000)
    pc.set_up(1, offset=0x10000)
    pc.set_up(2)                                                             # where the other one was
    pc.mmio.write(MEMORY + 0x10004, 4, 1)
    pc.machine.restore(checkpoint)
    fork = pc.machine.fork(checkpoint)
    for machine in (pc.machine, fork):
        assert machine.mmio.read(MEMORY, 4) == 5 and machine.mmio.read(MEMORY + 0x10000, 4) == 0 and machine.board.ioapic.pins[17].level
        assert digest(machine) == before and not machine.log.counts
        machine.mmio.write(MEMORY + 4, 4, 1)
        assert not machine.board.ioapic.pins[17].level, "the wires follow, too"
    fork.close()


def test_a_snapshot_says_which_cards_the_board_has(build: Build, tmp_path: Path) -> None:
    pc = build(PROBE)
    pc.set_up()
    pc.mmio.write(MEMORY, 4, 9)
    pc.machine.save(tmp_path / "saved")
    with pytest.raises(SnapshotError, match=r"snapshot .*saved: there is no device 'probe'; there are edu"):
        Machine.load(tmp_path / "saved")
    loaded = Machine.load(tmp_path / "saved", cards=(PROBE,))
    assert loaded.mmio.read(MEMORY, 4) == 9
    loaded.close()
    with pytest.raises(CheckpointError, match=r"4 MiB and the instructions clock, and the cards probe does not fit .* clock$"):
        build().machine.restore(pc.machine.checkpoint())
    with pytest.raises(CheckpointError, match="and the cards probe, probe$"):
        build(PROBE, PROBE).machine.restore(build().machine.checkpoint())


def test_the_debugger_shows_a_card_and_its_parts(build: Build) -> None:
    said: list[str] = []
    monitor = Monitor(build(PROBE).machine, said.append)
    assert monitor.execute("devices") and "probe msix" in said[-1]
    assert monitor.execute("devices probe") and any("WORD" in line for line in said) and any("VENDOR_ID" in line and "0x1234" in line for line in said)


# --- what a user gets wrong ------------------------------------------------------------------------------------------------------------------
def test_cards_that_cannot_be_are_one_line(build: Build, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="there is no slot for 'probe': a board has 30"):
        build(*[PROBE] * 31)
    with pytest.raises(MachineError, match="two chips of the board would have one name; the cards are lpc"):
        build(Card("lpc", Probe))
    with pytest.raises(MachineError, match="two chips of the board would have one name"):
        build(PROBE, PROBE, Card("probe-2", Probe))
    with pytest.raises(MachineError, match="there is no device 'toaster'; there are .*probe") as caught:
        cards_named(["toaster"], (PROBE,))
    assert "\n" not in str(caught.value)
    (tmp_path / "rom").write_bytes(HALT)
    with pytest.raises(MachineError, match="there is no device 'toaster'; there are"):
        run(RunOptions(firmware=str(tmp_path / "rom"), device=("toaster",)))


def test_the_command_line_takes_several_devices() -> None:
    assert parse("run", ["--firmware", __file__, "--device", "a", "--device", "b"]).device == ["a", "b"]
    assert parse("debug", ["--firmware", __file__, "--device", "a"]).device == ["a"]
