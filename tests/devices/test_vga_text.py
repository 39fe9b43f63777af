"""VGA text mode, by the PS/2 Hardware Interface Technical Reference, "Video Subsystem"."""

from __future__ import annotations

import pytest

from devices.core.clock import SECOND, ManualTime, VirtualClock
from devices.core.log import AccessLog
from devices.vga_text import Cell, VgaText

ATTRIBUTE, ATTRIBUTE_READ, MISC_WRITE, SEQUENCER, PEL_MASK, DAC_READ, DAC_WRITE, DAC_DATA, MISC_READ, GRAPHICS, CRTC, STATUS = (
    0x00, 0x01, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0C, 0x0E, 0x14, 0x1A)


class Bench:
    def __init__(self) -> None:
        self.time = ManualTime()
        self.log = AccessLog()
        self.chip = VgaText(VirtualClock(self.time), self.log)
        self.ports = self.chip.blocks["ports"]

    def out(self, port: int, *values: int) -> None:
        for value in values:
            self.ports.write(port, 1, value)

    def into(self, port: int) -> int:
        return self.ports.read(port, 1)

    def index(self, port: int, index: int, value: int) -> None:
        self.ports.write(port, 2, index | value << 8)          # one word: index, then data

    def print(self, at: int, text: str, attribute: int = 7) -> None:
        for column, character in enumerate(text.encode("cp437")):
            self.chip.memory.write(2 * (at + column), 2, attribute << 8 | character)


@pytest.fixture
def vga() -> Bench:
    return Bench()


def test_mode_3_is_80_by_25_and_empty(vga: Bench) -> None:
    assert vga.chip.size() == (25, 80) and vga.chip.lines() == [""] * 25


def test_cells_hold_characters_of_code_page_437(vga: Bench) -> None:
    vga.print(80, "╔═ Grüße ═╗", 0x1F)
    vga.chip.memory.write(2 * 160, 1, 0x01)
    assert vga.chip.lines()[1:3] == ["╔═ Grüße ═╗", "☺"]
    assert vga.chip.cells()[1][0] == Cell("╔", 0x1F)


def test_start_address_scrolls(vga: Bench) -> None:
    vga.print(0, "first")
    vga.print(80, "second")
    vga.index(CRTC, 0x0D, 80)
    assert vga.chip.lines()[0] == "second"
    vga.index(CRTC, 0x0C, 0x3F)                                # wraps within 32 KiB
    vga.index(CRTC, 0x0D, 0xB0)
    assert vga.chip.lines()[1] == "first"


def test_cursor_position_and_shape(vga: Bench) -> None:
    vga.index(CRTC, 0x0E, 2)
    vga.index(CRTC, 0x0F, 3)
    assert vga.chip.cursor() == (515 // 80, 515 % 80, True)
    vga.index(CRTC, 0x0A, 0x20)
    assert not vga.chip.cursor().visible


def test_crtc_protect_bit(vga: Bench) -> None:
    vga.index(CRTC, 0x01, 39)
    assert vga.chip.size() == (25, 80)
    vga.index(CRTC, 0x11, 0x0E)
    vga.index(CRTC, 0x01, 39)
    assert vga.chip.size() == (25, 40)


def test_attribute_controller_takes_index_and_data_in_turn(vga: Bench) -> None:
    vga.into(STATUS)
    vga.out(ATTRIBUTE, 0x05, 0x2A)
    vga.out(ATTRIBUTE, 0x05)
    assert vga.into(ATTRIBUTE_READ) == 0x2A
    vga.into(STATUS)                                           # an index is next again
    vga.out(ATTRIBUTE, 0x06)
    assert vga.into(ATTRIBUTE) == 0x06 and vga.into(ATTRIBUTE_READ) == 0x14


def test_palette(vga: Bench) -> None:
    assert [vga.chip.colour(number) for number in (0, 4, 6, 15)] == [(0, 0, 0), (170, 0, 0), (170, 85, 0), (255, 255, 255)]
    vga.out(DAC_WRITE, 4)
    vga.out(DAC_DATA, 1, 2, 63)
    assert vga.chip.colour(4) == (4, 8, 255)
    vga.out(DAC_READ, 4)
    assert [vga.into(DAC_DATA) for _ in range(3)] == [1, 2, 63] and vga.into(DAC_READ) == 3


def test_a_colour_is_taken_over_with_its_third_component(vga: Bench) -> None:
    vga.out(DAC_WRITE, 4)
    vga.out(DAC_DATA, 1, 2, 3, 40, 50)
    vga.out(DAC_WRITE, 4)
    vga.out(DAC_DATA, 11, 22)
    vga.out(DAC_READ, 4)
    assert [vga.into(DAC_DATA) for _ in range(3)] == [1, 2, 3]
    vga.out(DAC_WRITE, 4)
    vga.out(DAC_DATA, 11, 22, 33)
    vga.out(DAC_READ, 4)
    assert [vga.into(DAC_DATA) for _ in range(3)] == [11, 22, 33]


def test_retrace_comes_70_times_a_second(vga: Bench) -> None:
    rises, before = 0, 0
    for _ in range(40_000):
        now = vga.into(STATUS) & 8
        rises += now > before
        before = now
        vga.time.advance(SECOND // 40_000)
    assert rises == 70


def test_registers_read_back(vga: Bench) -> None:
    vga.out(MISC_WRITE, 0x63)
    assert vga.into(MISC_READ) == 0x63
    vga.index(SEQUENCER, 1, 0x01)
    assert vga.ports.read(SEQUENCER, 2) == 0x0101
    vga.out(GRAPHICS, 6)
    assert vga.into(GRAPHICS + 1) == 0x0E
    vga.out(PEL_MASK, 0x0F)
    assert vga.into(PEL_MASK) == 0x0F


def test_reserved_bits_read_0(vga: Bench) -> None:
    def attribute(index: int) -> int:
        vga.into(STATUS)
        vga.out(ATTRIBUTE, index, 0xFF)
        return vga.into(ATTRIBUTE_READ)

    def indexed(port: int, index: int) -> int:
        vga.index(port, index, 0xFF)
        return vga.into(port + 1)

    assert [indexed(SEQUENCER, index) for index in range(5)] == [0x03, 0x3D, 0x0F, 0x3F, 0x0E]
    assert [indexed(GRAPHICS, index) for index in (0, 1, 2, 3, 4, 5, 7, 8)] == [0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0xFF]
    assert [attribute(index) for index in (0, 15, 0x10, 0x11, 0x12, 0x13, 0x14)] == [0x3F, 0x3F, 0xEF, 0xFF, 0x3F, 0x0F, 0x0F]
    vga.out(SEQUENCER, 0xFF)
    vga.out(GRAPHICS, 0xFF)
    assert (vga.into(SEQUENCER), vga.into(GRAPHICS)) == (0x07, 0x0F)


def test_what_is_not_there_is_noted(vga: Bench) -> None:
    vga.index(CRTC, 0x40, 1)
    vga.index(GRAPHICS, 6, 5)
    vga.out(MISC_WRITE, 0x66)
    assert vga.log.total() == 3
    vga.out(CRTC, 0x40)
    assert vga.into(CRTC + 1) == 0


def test_memory_beyond_the_end(vga: Bench) -> None:
    vga.chip.memory.write(0x7FFE, 4, 0x12345678)
    assert vga.chip.memory.read(0x7FFE, 4) == 0xFFFFFFFF and vga.chip.memory.read(0x7FFE, 2) == 0x0720


def test_changes_grow_with_the_picture_and_snapshots_carry_it(vga: Bench) -> None:
    before = vga.chip.changes
    vga.print(0, "kept")
    assert vga.chip.changes > before
    other = Bench()
    other.chip.restore(vga.chip.save())
    assert other.chip.lines()[0] == "kept" and other.chip.changes
    other.chip.reset()
    assert other.chip.lines()[0] == ""
