"""PCI configuration: mechanism 1, the host bridge, the LPC bridge."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from devices.core.bus import Bus
from devices.core.log import AccessLog
from devices.pci.config_space import Bar, HeaderState, PciBus, PciFunction, header, layout
from devices.pci.ecam import Ecam
from devices.pci.host_bridge import ConfigAddress, ConfigData, HostBridge
from devices.pci.lpc import LpcBridge
from devices.reset_control import ResetControl


@dataclass
class Pci:
    """Both bridges on a bus behind ports 0xCF8-0xCFF."""

    log: AccessLog = field(default_factory=AccessLog)
    irqs: list[tuple[int, bool]] = field(default_factory=list)
    bases: list[int | None] = field(default_factory=list)
    windows: list[tuple[int, int] | None] = field(default_factory=list)
    segments: dict[int, tuple[bool, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = Bus("port", 0x10000, self.log)
        self.bus = PciBus(self.log)
        self.lpc = LpcBridge(self.log, lambda number, level: self.irqs.append((number, level)), self.bases.append, 0x600)
        self.bus.plug(0, 0, HostBridge(self.log, self.windows.append, self.steer))
        self.bus.plug(31, 0, self.lpc)
        address = ConfigAddress(self.log)
        self.ports.map(0xCF8, 4, address.blocks["port"], "CONFIG_ADDRESS")
        self.ports.map(0xCFC, 4, ConfigData(address, self.bus), "CONFIG_DATA")

    def steer(self, segment: int, reads: bool, writes: bool) -> None:
        self.segments[segment] = reads, writes

    def select(self, slot: int, register: int, bus: int = 0, function: int = 0) -> None:
        self.ports.write(0xCF8, 4, 1 << 31 | bus << 16 | slot << 11 | function << 8 | register)

    def read(self, slot: int, register: int, size: int = 4, **where: int) -> int:
        self.select(slot, register & 0xFC, **where)
        return self.ports.read(0xCFC + (register & 3), size)

    def write(self, slot: int, register: int, value: int, size: int = 4) -> None:
        self.select(slot, register & 0xFC)
        self.ports.write(0xCFC + (register & 3), size, value)


@pytest.fixture
def pci() -> Pci:
    return Pci()


def test_3_2_2_3_2_mechanism_1_finds_both_bridges(pci: Pci) -> None:
    assert pci.read(0, 0) == 0x29C08086
    assert pci.read(31, 0) == 0x29188086
    assert (pci.read(0, 8) >> 8, pci.read(31, 8) >> 8) == (0x060000, 0x060100)
    assert [pci.read(31, at, 1) for at in range(4)] == [0x86, 0x80, 0x18, 0x29]
    assert pci.read(31, 2, 2) == 0x2918


def test_3_2_2_3_4_nobody_answers_with_all_ones(pci: Pci) -> None:
    assert pci.read(5, 0) == 0xFFFFFFFF
    assert pci.read(0, 0, bus=1) == 0xFFFFFFFF
    assert pci.read(31, 0, 2, function=2) == 0xFFFF


def test_without_the_enable_bit_the_data_ports_float(pci: Pci) -> None:
    pci.ports.write(0xCF8, 4, 0)
    assert pci.ports.read(0xCFC, 4) == 0xFFFFFFFF
    pci.ports.write(0xCFC, 4, 0)
    assert pci.read(0, 0) == 0x29C08086


def test_only_double_words_are_config_address(pci: Pci) -> None:
    pci.select(31, 0x40)
    pci.ports.write(0xCF8, 2, 0x1234)
    assert pci.ports.read(0xCF8, 4) == 0x8000F840
    asked: list[object] = []
    pci.ports.map_exact(0xCF9, 1, ResetControl(pci.log, asked.append).blocks["port"], "RST_CNT")
    pci.ports.write(0xCF9, 1, 0x06)
    assert len(asked) == 1 and pci.ports.read(0xCF8, 4) == 0x8000F840


def test_command_keeps_what_it_has_and_ids_cannot_be_written(pci: Pci) -> None:
    pci.write(31, 4, 0xFFFF, 2)
    assert pci.read(31, 4, 2) == 0x0547
    pci.write(31, 0, 0)
    assert pci.read(31, 0) == 0x29188086


def test_5_1_pciexbar_is_told_when_it_changes(pci: Pci) -> None:
    pci.write(0, 0x64, 0)
    pci.write(0, 0x60, 0xE0000001)
    assert pci.windows == [(0xE0000000, 256 << 20)]
    pci.write(0, 0x60, 0xE0000005)
    pci.write(0, 0x60, 0)
    assert pci.windows[1:] == [(0xE0000000, 64 << 20), None]


def test_5_1_18_to_24_pam_steers_thirteen_segments(pci: Pci) -> None:
    """PAM0 has the F segment in its upper half; PAM1-PAM6 have two each, the lower address in the lower half."""
    nothing = dict.fromkeys(range(13), (False, False))
    assert pci.segments == nothing and [pci.read(0, 0x90 + number, 1) for number in range(7)] == [0] * 7
    places = [(0x90, 4, 12)] + [(0x91 + number, 4 * half, 2 * number + half) for number in range(6) for half in (0, 1)]
    for register, shift, segment in places:
        for value, attribute in enumerate([(False, False), (True, False), (False, True), (True, True)]):
            pci.write(0, register, value << shift, 1)
            assert pci.segments == nothing | {segment: attribute}, f"{register:#x} {value}"
        pci.write(0, register, 0, 1)
    pci.write(0, 0x90, 0x33333333)
    pci.write(0, 0x94, 0x00FFFFFF)
    assert set(pci.segments.values()) == {(True, True)}
    assert (pci.read(0, 0x90), pci.read(0, 0x94)) == (0x33333330, 0x00333333), "what is reserved reads 0"
    saved = pci.bus.functions[0, 0].save()
    pci.bus.functions[0, 0].reset()
    assert pci.segments == nothing
    pci.bus.functions[0, 0].restore(saved)
    assert set(pci.segments.values()) == {(True, True)}


def test_13_1_9_pmbase_and_acpi_cntl_move_the_acpi_block(pci: Pci) -> None:
    pci.write(31, 0x40, 0xB001)
    pci.write(31, 0x44, 0, 1)
    pci.write(31, 0x44, 0x80, 1)
    assert pci.bases == [0xB000, None, 0xB000]
    assert pci.read(31, 0x40) == 0xB001
    pci.lpc.reset()
    assert pci.bases[-1] == 0x600


def test_13_1_10_pirqs_drive_the_isa_interrupt_they_are_routed_to(pci: Pci) -> None:
    pci.lpc.pirq[0].raise_()
    assert pci.irqs == [], "not routed after a reset"
    pci.write(31, 0x60, 0x0A, 1)
    assert pci.irqs == [(10, True)]
    pci.write(31, 0x69, 0x0A, 1)
    pci.lpc.pirq[5].raise_()
    pci.lpc.pirq[0].lower()
    assert pci.irqs == [(10, True)], "PIRQF still asserts it"
    pci.write(31, 0x69, 0x0B, 1)
    assert sorted(pci.irqs[1:]) == [(10, False), (11, True)]
    pci.write(31, 0x69, 0x00, 1)
    assert pci.irqs[-1] == (11, False), "0 is a reserved route"


def test_a_place_is_taken_once(pci: Pci) -> None:
    with pytest.raises(ValueError, match="00:1f.0 is taken"):
        pci.bus.plug(31, 0, pci.lpc)


class Card(PciFunction[HeaderState]):
    """A function with every kind of base address register."""

    NAME = "card"
    BASES = (Bar(0, 0x1000), Bar(1, 0x40, io=True), Bar(2, 1 << 33, wide=True, prefetchable=True))
    BLOCKS = (layout(*header(0x1234, 0x5678, 1, 0xFF0000, interrupt_pin=1)),)


@pytest.fixture
def card(pci: Pci) -> tuple[Pci, Card, list[tuple[int, int | None]]]:
    one, placed = Card(pci.log), list[tuple[int, int | None]]()
    one.place = lambda bar, base: placed.append((bar.index, base))
    pci.bus.plug(3, 0, one)
    return pci, one, placed


def test_6_2_5_1_base_address_registers_tell_kind_and_size(card: tuple[Pci, Card, list[tuple[int, int | None]]]) -> None:
    pci, _, placed = card
    answers = []
    for index in range(6):
        pci.write(3, 0x10 + 4 * index, 0xFFFFFFFF)
        answers.append(pci.read(3, 0x10 + 4 * index))
    assert answers == [0xFFFFF000, 0xFFFFFFC1, 0x0000000C, 0xFFFFFFFE, 0, 0]
    pci.write(3, 0x30, 0xFFFFFFFE)
    assert pci.read(3, 0x30) == 0 and not placed and pci.log.total() == 0


def test_6_2_2_decoding_begins_and_ends_with_command(card: tuple[Pci, Card, list[tuple[int, int | None]]]) -> None:
    pci, one, placed = card
    pci.write(3, 0x10, 0xFEB00000)
    pci.write(3, 0x14, 0xC000)
    pci.write(3, 0x18, 0)
    pci.write(3, 0x1C, 0x4)
    assert not placed
    pci.write(3, 4, 2, 2)
    assert placed == [(0, 0xFEB00000), (2, 0x4_00000000)]
    pci.write(3, 4, 1, 2)
    assert placed[2:] == [(0, None), (1, 0xC000), (2, None)]
    pci.write(3, 0x14, 0xC040)
    assert placed[5:] == [(1, None), (1, 0xC040)]
    saved = one.save()
    one.reset()
    assert placed[-1] == (1, None)
    one.restore(saved)
    assert placed[-1] == (1, 0xC040)


def test_6_2_3_interrupt_status_and_disable(card: tuple[Pci, Card, list[tuple[int, int | None]]]) -> None:
    pci, one, _ = card
    one.interrupt(True)
    assert one.intx.level and pci.read(3, 6, 2) & 8
    pci.write(3, 4, 0x400, 2)
    assert not one.intx.level and pci.read(3, 6, 2) & 8
    pci.write(3, 4, 0, 2)
    assert one.intx.level
    one.interrupt(False)
    assert not one.intx.level and not pci.read(3, 6, 2) & 8


def test_6_7_both_bridges_have_a_capability_list(pci: Pci) -> None:
    for slot in (0, 31):
        at = pci.read(slot, 0x34, 1)
        assert pci.read(slot, 6, 2) & 0x10 and pci.read(slot, at, 2) == 0x0009


def test_6_1_looking_around_is_no_mistake(pci: Pci) -> None:
    for slot in (0, 31):
        for register in range(0, 0x100, 4):
            pci.read(slot, register)
        for register in (*range(0x10, 0x28, 4), 0x30):
            pci.write(slot, register, 0xFFFFFFFF)
            assert pci.read(slot, register) == 0
    pci.ports.write(0xCFB, 1, 1)
    assert pci.log.total() == 0


def test_ecam_reaches_the_same_registers(pci: Pci) -> None:
    ecam = Ecam(pci.bus)
    assert ecam.read(31 << 15, 4) == 0x29188086 and ecam.peek(31 << 15 | 2, 2) == 0x2918
    ecam.write(31 << 15 | 0x3C, 1, 0x0B)
    assert pci.read(31, 0x3C, 1) == 0x0B
    assert ecam.read(31 << 15 | 0x100, 4) == 0xFFFFFFFF and ecam.read(1 << 20, 4) == 0xFFFFFFFF


def test_rcba_is_told(pci: Pci) -> None:
    told: list[int | None] = []
    lpc = LpcBridge(pci.log, lambda number, level: None, pci.bases.append, 0x600, told.append)
    lpc.config.write(0xF0, 4, 0xFED1C001)
    lpc.config.write(0xF0, 4, 0)
    assert told == [0xFED1C000, None]
