"""The text screen as pixels: the font's letters and lines, colours, cursor, PNG."""

from __future__ import annotations

import struct
import zlib

import pytest

from devices.core.clock import ManualTime, VirtualClock
from devices.core.log import AccessLog
from devices.text_font import FRAME, glyph
from devices.text_picture import picture
from devices.vga_text import GLYPHS, VgaText


def art(character: str) -> list[str]:
    return ["".join(".#"[row >> 7 - at & 1] for at in range(8)) for row in glyph(character)]


def test_a_letter() -> None:
    assert art("A")[::2] == ["..###...", ".#...#..", ".#...#..", ".#####..", ".#...#..", ".#...#..", ".#...#..", "........"]


def test_the_letters_all_differ_and_fit() -> None:
    letters = {glyph(chr(code)) for code in range(0x20, 0x7F)}
    assert len(letters) == 95 and all(len(one) == 16 and not any(row & 0x81 for row in one) for one in letters)


@pytest.mark.parametrize("character", GLYPHS)
def test_every_character_of_the_code_page_has_a_glyph(character: str) -> None:
    assert len(glyph(character)) == 16


@pytest.mark.parametrize(("character", "edges"), [
    ("─", "lr"), ("│", "ud"), ("┌", "rd"), ("┘", "lu"), ("┼", "lrud"), ("═", "lr"), ("║", "ud"), ("╔", "rd"), ("╬", "lrud"), ("╞", "rud"), ("╥", "lrd")])
def test_lines_reach_the_edges_that_they_join(character: str, edges: str) -> None:
    rows = glyph(character)
    reached = {"l": any(row & 0x80 for row in rows), "r": any(row & 1 for row in rows), "u": rows[0] != 0, "d": rows[15] != 0}
    assert {side for side, is_reached in reached.items() if is_reached} == set(edges)


def test_double_lines_are_two() -> None:
    assert glyph("║")[0].bit_count() == 2 and sum(row == 0xFF for row in glyph("═")) == 2
    assert glyph("╓")[15].bit_count() == 2 and sum(row & 1 for row in glyph("╓")) == 1


def test_what_is_not_drawn_is_a_frame() -> None:
    assert glyph("Ω") == FRAME


@pytest.fixture
def vga() -> VgaText:
    return VgaText(VirtualClock(ManualTime()), AccessLog())


def test_colours_and_size(vga: VgaText) -> None:
    vga.memory.write(2, 2, 0x1F00 | 0xDB)                                  # a white block on blue, at column 1
    vga.memory.write(4, 2, 0x4C20)                                         # a blank on red
    shown = picture(vga)
    assert (shown.width, shown.height) == (640, 400) and len(shown.pixels) == 3 * 640 * 400
    assert shown.pixels[0:3] == bytes(3)
    assert shown.pixels[3 * 8:3 * 9] == b"\xff\xff\xff" and shown.pixels[3 * 16:3 * 17] == b"\xaa\x00\x00"


def test_the_cursor_is_drawn_where_it_is_and_gone_when_off(vga: VgaText) -> None:
    def lit() -> set[int]:
        shown = picture(vga)
        return {at // 3 // 640 for at in range(0, len(shown.pixels), 3) if any(shown.pixels[at:at + 3])}

    assert lit() == {13, 14}                                               # row 0, the lines that mode 3 gives it
    vga.blocks["ports"].write(0x14, 1, 0x0A)
    vga.blocks["ports"].write(0x15, 1, 0x20)
    assert lit() == set()


def test_a_png_holds_the_pixels(vga: VgaText) -> None:
    vga.memory.write(0, 2, 0x1F41)
    shown = picture(vga)
    data, chunks, at = shown.png(), {}, 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8:at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (640, 400, 8, 2, 0, 0, 0) and list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    rows = zlib.decompress(chunks[b"IDAT"])
    assert b"".join(rows[1 + at:at + 1 + 1920] for at in range(0, len(rows), 1921)) == shown.pixels
