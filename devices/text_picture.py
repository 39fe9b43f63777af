"""A text screen as a picture: what a monitor at the VGA shows, in true colour, and as a PNG file.

Specification: PNG (ISO/IEC 15948:2004), 5 "Datastream structure" and 11.2 "Critical chunks".
"""

from __future__ import annotations

import functools
import struct
import zlib
from dataclasses import dataclass

from devices.text_font import HEIGHT, WIDTH, glyph
from devices.vga_text import VgaText

Colour = tuple[int, int, int]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUE_COLOUR, EIGHT_BITS, NO_FILTER = 2, 8, b"\0"
BACKGROUNDS = 0x7                      # bit 7 of an attribute blinks; a still picture shows the character


@dataclass(frozen=True, slots=True)
class Picture:
    """`width` x `height` pixels, three bytes each (red, green, blue), by rows from the top."""

    width: int
    height: int
    pixels: bytes

    def png(self) -> bytes:
        """As a PNG file."""
        stride = 3 * self.width
        rows = b"".join(NO_FILTER + self.pixels[at:at + stride] for at in range(0, len(self.pixels), stride))
        header = struct.pack(">IIBBBBB", self.width, self.height, EIGHT_BITS, TRUE_COLOUR, 0, 0, 0)
        return PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture(vga: VgaText) -> Picture:
    """What is on the screen, the cursor in its steady phase."""
    rows, columns = vga.size()
    colours = [vga.colour(number) for number in range(16)]
    cursor, shape = vga.cursor(), vga.cursor_shape()
    lines: list[bytes] = []
    for row, cells in enumerate(vga.cells()):
        drawn = [(glyph(cell.character), colours[cell.attribute & 0xF], colours[cell.attribute >> 4 & BACKGROUNDS]) for cell in cells]
        if cursor.visible and cursor.row == row and 0 <= cursor.column < columns:
            bits, front, back = drawn[cursor.column]
            drawn[cursor.column] = bytes(0xFF if line in shape else bits[line] for line in range(HEIGHT)), front, back
        lines += [b"".join(_pixels(bits[line], front, back) for bits, front, back in drawn) for line in range(HEIGHT)]
    return Picture(columns * WIDTH, rows * HEIGHT, b"".join(lines))


@functools.lru_cache(4096)
def _pixels(bits: int, front: Colour, back: Colour) -> bytes:
    """One row of one character."""
    return b"".join(bytes(front if bits & 0x80 >> at else back) for at in range(WIDTH))
