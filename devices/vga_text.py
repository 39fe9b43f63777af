"""A VGA in its 80x25 text mode: registers at 0x3C0-0x3DF, character cells at 0xB8000.

Specification: IBM Personal System/2 Hardware Interface Technical Reference (1991), "Video Subsystem"; register names and resets of mode 3 are its.

All registers are kept and read back; what shows on the screen follows the CRT controller (size, start address, row offset, cursor). Retrace is a
function of the moment. The colour addresses alone are decoded.

Not modelled: graphics modes, planes (the 32 KiB at 0xB8000 are one piece of memory with character and attribute in turn), fonts, panning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from devices.core.clock import SECOND, VirtualClock
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, WO, Chip, Field, Layout, Register

MEMORY = 0x8000                       # bytes from 0xB8000
FRAME = SECOND // 70                  # ns
LINES, SHOWN, RETRACE = 449, 400, range(412, 414)
PALETTE = 256

DISABLED, VERTICAL_RETRACE = 0x01, 0x08                                      # input status 1
PROTECT = 0x80                        # CRTC 0x11: registers 0 to 7 are read-only
MODE_3_SEQUENCER = bytes.fromhex("03 00 03 00 02")
MODE_3_CRTC = bytes.fromhex("5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff")
MODE_3_GRAPHICS = bytes.fromhex("00 00 00 00 00 10 0e 00 ff")
MODE_3_ATTRIBUTE = bytes.fromhex("00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f 0c 00 0f 08 00")
SEQUENCER_BITS = bytes.fromhex("03 3d 0f 3f 0e")              # what the registers have; other bits read 0
GRAPHICS_BITS = bytes.fromhex("0f 0f 0f 1f 03 7b 0f 0f ff")
ATTRIBUTE_BITS = bytes.fromhex("3f 3f 3f 3f 3f 3f 3f 3f 3f 3f 3f 3f 3f 3f 3f 3f ef ff 3f 0f 0f")
CRTC_BITS = b"\xff" * len(MODE_3_CRTC)
OVERFLOW, MAX_SCAN, CURSOR_START, CURSOR_END, START, CURSOR, RETRACE_END, SHOWN_END, OFFSET = 0x07, 0x09, 0x0A, 0x0B, 0x0C, 0x0E, 0x11, 0x12, 0x13
CURSOR_OFF = 0x20
LOW_GLYPHS = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
GLYPHS = LOW_GLYPHS + bytes(range(0x20, 0x7F)).decode("cp437") + "⌂" + bytes(range(0x80, 0x100)).decode("cp437")


class Cell(NamedTuple):
    """One place on the screen: a character and its attribute (bits 3-0 colour, 6-4 background, 7 blinks)."""

    character: str
    attribute: int


class Cursor(NamedTuple):
    """Where the cursor is; `row` and `column` may be beyond the screen."""

    row: int
    column: int
    visible: bool


def _ega_palette() -> list[int]:
    """The first 64 colours in 6 bits a component, as a VGA's firmware sets them for text: rgbRGB, two bits a component."""
    colours = [0] * (3 * PALETTE)
    for number in range(64):
        for component in range(3):
            colours[3 * number + component] = 0x2A * (number >> 2 - component & 1) + 0x15 * (number >> 5 - component & 1)
    return colours


@dataclass
class State:
    """Registers, palette, memory.

    Attributes:
        attribute_data: the next byte at 0x3C0 is data, not an index.
        dac, component: the palette, 6 bits a component, and the next component to be read or written.
        dac_latch: components of a colour that is being written.
        dac_writes: the palette was last set up for writing.
        cells: character and attribute in turn.
    """

    misc: int = 0x67
    attribute_index: int = 0x20
    attribute_data: bool = False
    sequencer_index: int = 0
    graphics_index: int = 0
    crtc_index: int = 0
    pel_mask: int = 0xFF
    sequencer: list[int] = field(default_factory=lambda: list(MODE_3_SEQUENCER))
    graphics: list[int] = field(default_factory=lambda: list(MODE_3_GRAPHICS))
    crtc: list[int] = field(default_factory=lambda: list(MODE_3_CRTC))
    attribute: list[int] = field(default_factory=lambda: list(MODE_3_ATTRIBUTE))
    dac: list[int] = field(default_factory=_ega_palette)
    dac_latch: list[int] = field(default_factory=lambda: [0] * 3)
    component: int = 0
    dac_writes: bool = False
    cells: bytearray = field(default_factory=lambda: bytearray(b" \x07" * (MEMORY // 2)))


class Cells:
    """The memory at 0xB8000, a `BusDevice`."""

    def __init__(self, chip: VgaText) -> None:
        self._chip = chip

    def read(self, offset: int, size: int) -> int:
        """`size` bytes; ones beyond the end."""
        cells = self._chip.state.cells
        if 0 <= offset <= MEMORY - size:
            return int.from_bytes(cells[offset:offset + size], "little")
        return (1 << 8 * size) - 1

    peek = read

    def write(self, offset: int, size: int, value: int) -> None:
        """`size` bytes; lost beyond the end."""
        if 0 <= offset <= MEMORY - size:
            self._chip.state.cells[offset:offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            self._chip.changes += 1


class VgaText(Chip[State]):
    """The display. `blocks["ports"]` is 0x3C0-0x3DF, `memory` is 0xB8000-0xBFFFF.

    Args:
        clock: for the retrace bits.
        log: told of a guest's mistakes.

    Attributes:
        changes: grows with everything that may change the picture; for displays that draw when it has.
    """

    NAME = "vga"
    BLOCKS = (
        Layout("ports", 0x20, (
            Register("ATTRIBUTE_ADDRESS", 0x00, 1, RW, 0x20, doc="index and data in turn"),
            Register("ATTRIBUTE_READ", 0x01, 1, RO, doc="what the index names"),
            Register("MISC_WRITE", 0x02, 1, WO), Register("INPUT_STATUS_0", 0x02, 1, RO, doc="no switch is sensed, no interrupt pending"),
            Register("SEQUENCER_INDEX", 0x04, 1, RW, fields=(Field("INDEX", (2, 0)),)), Register("SEQUENCER_DATA", 0x05, 1, RW, MODE_3_SEQUENCER[0]),
            Register("PEL_MASK", 0x06, 1, RW, 0xFF),
            Register("DAC_STATE", 0x07, 1, RO, 3, doc="0: set up for writing, 3: for reading"), Register("DAC_READ_INDEX", 0x07, 1, WO),
            Register("DAC_WRITE_INDEX", 0x08, 1, RW), Register("DAC_DATA", 0x09, 1, RW, doc="red, green, blue in turn"),
            Register("FEATURE_READ", 0x0A, 1, RO), Register("MISC_READ", 0x0C, 1, RO, 0x67),
            Register("GRAPHICS_INDEX", 0x0E, 1, RW, fields=(Field("INDEX", (3, 0)),)), Register("GRAPHICS_DATA", 0x0F, 1, RW),
            Register("CRTC_INDEX", 0x14, 1, RW), Register("CRTC_DATA", 0x15, 1, RW, MODE_3_CRTC[0]),
            Register("INPUT_STATUS_1", 0x1A, 1, RO, doc="retrace; reading it makes 0x3C0 take an index next", fields=(
                Field("DISABLED", 0, doc="neither line nor frame is being drawn"), Field("VERTICAL_RETRACE", 3))),
            Register("FEATURE_WRITE", 0x1A, 1, WO),
        ), hole=0xFF),
    )

    def __init__(self, clock: VirtualClock, log: AccessLog, name: str = "") -> None:
        super().__init__(log, name)
        self._clock = clock
        self.changes = 0
        self.memory = Cells(self)

    # --- what is on the screen -------------------------------------------------------------------------------------------------------------
    def size(self) -> tuple[int, int]:
        """(rows, columns) by the CRT controller."""
        crtc = self.state.crtc
        shown = crtc[SHOWN_END] | crtc[OVERFLOW] >> 1 << 8 & 0x100 | crtc[OVERFLOW] >> 6 << 9 & 0x200
        return (shown + 1) // ((crtc[MAX_SCAN] & 0x1F) + 1), crtc[1] + 1

    def cells(self) -> list[list[Cell]]:
        """The screen, by row and column."""
        rows, columns = self.size()
        start, step = self._word(START), 2 * self.state.crtc[OFFSET]
        return [[self._cell(start + row * step + column) for column in range(columns)] for row in range(rows)]

    def lines(self) -> list[str]:
        """The screen as text, without blanks at the ends of lines."""
        return ["".join(cell.character for cell in row).rstrip() for row in self.cells()]

    def cursor(self) -> Cursor:
        """Where the cursor is, and whether it is shown."""
        crtc = self.state.crtc
        distance = self._word(CURSOR) - self._word(START)
        row, column = divmod(distance, 2 * crtc[OFFSET]) if crtc[OFFSET] else (0, distance)
        return Cursor(row, column, not crtc[CURSOR_START] & CURSOR_OFF and crtc[CURSOR_START] & 0x1F <= crtc[CURSOR_END] & 0x1F)

    def cursor_shape(self) -> range:
        """The lines of a character that the cursor covers."""
        return range(self.state.crtc[CURSOR_START] & 0x1F, (self.state.crtc[CURSOR_END] & 0x1F) + 1)

    def colour(self, number: int) -> tuple[int, int, int]:
        """One of the 16 text colours as red, green, blue in 8 bits, through attribute controller and palette."""
        index = self.state.attribute[number & 0xF] & 0x3F & self.state.pel_mask
        red, green, blue = (component << 2 | component >> 4 for component in self.state.dac[3 * index:3 * index + 3])
        return red, green, blue

    def _cell(self, at: int) -> Cell:
        at = 2 * at % MEMORY
        return Cell(GLYPHS[self.state.cells[at]], self.state.cells[at + 1])

    def _word(self, index: int) -> int:
        return self.state.crtc[index] << 8 | self.state.crtc[index + 1]

    # --- attribute controller ----------------------------------------------------------------------------------------------------------------
    def peek_ATTRIBUTE_ADDRESS(self) -> int:
        return self.state.attribute_index

    def on_ATTRIBUTE_ADDRESS(self, value: int) -> None:
        state = self.state
        if not state.attribute_data:
            state.attribute_index = value & 0x3F
        else:
            self._store("attribute", state.attribute, ATTRIBUTE_BITS, state.attribute_index & 0x1F, value)
        state.attribute_data = not state.attribute_data

    def peek_ATTRIBUTE_READ(self) -> int:
        return self._fetch(self.state.attribute, self.state.attribute_index & 0x1F)

    def peek_INPUT_STATUS_1(self) -> int:
        line, within = divmod(self._clock.now() % FRAME * LINES, FRAME)
        blank = line >= SHOWN or within >= FRAME * 4 // 5
        return (DISABLED if blank else 0) | (VERTICAL_RETRACE if line in RETRACE else 0)

    def read_INPUT_STATUS_1(self) -> int:
        self.state.attribute_data = False
        return self.peek_INPUT_STATUS_1()

    def on_FEATURE_WRITE(self, value: int) -> None:
        if value:
            self.log.note(self.name, "FEATURE_WRITE", "nothing hangs on the feature connector", value=value)

    # --- sequencer, graphics controller, CRT controller ----------------------------------------------------------------------------------------
    def on_MISC_WRITE(self, value: int) -> None:
        self.state.misc = value
        if not value & 1:
            self.log.note(self.name, "MISC_WRITE", "monochrome addresses are not decoded", value=value)

    def peek_MISC_READ(self) -> int:
        return self.state.misc

    def peek_SEQUENCER_DATA(self) -> int:
        return self._fetch(self.state.sequencer, self.state.sequencer_index)

    def on_SEQUENCER_DATA(self, value: int) -> None:
        self._store("sequencer", self.state.sequencer, SEQUENCER_BITS, self.state.sequencer_index, value)

    def peek_GRAPHICS_DATA(self) -> int:
        return self._fetch(self.state.graphics, self.state.graphics_index)

    def on_GRAPHICS_DATA(self, value: int) -> None:
        if self.state.graphics_index == 6 and value & 1:
            self.log.note(self.name, "GRAPHICS_DATA", "graphics mode, which is not modelled", value=value)
        self._store("graphics", self.state.graphics, GRAPHICS_BITS, self.state.graphics_index, value)

    def peek_CRTC_DATA(self) -> int:
        return self._fetch(self.state.crtc, self.state.crtc_index)

    def on_CRTC_DATA(self, value: int) -> None:
        state = self.state
        index = state.crtc_index
        if index <= OVERFLOW and state.crtc[RETRACE_END] & PROTECT:
            if index != OVERFLOW:
                return
            value = state.crtc[OVERFLOW] & ~0x10 | value & 0x10            # its line-compare bit is not protected
        self._store("crtc", state.crtc, CRTC_BITS, index, value)

    def _fetch(self, registers: list[int], index: int) -> int:
        return registers[index] if index < len(registers) else 0

    def _store(self, what: str, registers: list[int], bits: bytes, index: int, value: int) -> None:
        if index < len(registers):
            registers[index] = value & bits[index]
            self.changes += 1
        else:
            self.log.note(self.name, f"{what} {index:#x}", "written, no such register", value=value)

    # --- palette -----------------------------------------------------------------------------------------------------------------------------
    def on_DAC_READ_INDEX(self, value: int) -> None:
        self.state.component, self.state.dac_writes = 3 * value, False

    def peek_DAC_STATE(self) -> int:
        return 0 if self.state.dac_writes else 3

    def peek_DAC_WRITE_INDEX(self) -> int:
        return self.state.component // 3

    def on_DAC_WRITE_INDEX(self, value: int) -> None:
        self.state.component, self.state.dac_writes = 3 * value, True

    def peek_DAC_DATA(self) -> int:
        return self.state.dac[self.state.component]

    def read_DAC_DATA(self) -> int:
        value = self.peek_DAC_DATA()
        self.state.component = (self.state.component + 1) % (3 * PALETTE)
        return value

    def on_DAC_DATA(self, value: int) -> None:
        state = self.state
        place = state.component % 3
        state.dac_latch[place] = value & 0x3F
        if place == 2:                                                 # the three are taken over together
            state.dac[state.component - 2:state.component + 1] = state.dac_latch
            self.changes += 1
        state.component = (state.component + 1) % (3 * PALETTE)

    def on_reset(self) -> None:
        """Mode 3 again, an empty screen."""
        self.changes += 1

    def on_restore(self) -> None:
        """Another picture."""
        self.changes += 1
