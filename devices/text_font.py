"""A font for text screens, 8 x 16 pixels a character: our own, because a VGA's is in a ROM that this board has not.

Letters are drawn on a grid of 5 x 8, each point two pixels high. Lines and blocks of code page 437 follow from their Unicode names ("BOX DRAWINGS DOWN SINGLE
AND LEFT DOUBLE"). What has neither is shown as a frame.
"""

from __future__ import annotations

import functools
import unicodedata

WIDTH, HEIGHT = 8, 16
GRID_ROWS, LEFT_MARGIN = 8, 1
POINTS = 5                             # a grid row's points, the leftmost in the highest bit

# From blank to ~: a digit of base 32 for each row of the grid, from the top. Row 7 is below the line.
LETTERS = (
    "00000000 44444040 AAA00000 AAVAVAA0 4FKE5U40 OP248J30 CIK8LID0 44000000 24888420 84222480 04LEL400 044V4400 00000448 000V0000 00000CC0 01248G00 "
    "EHJLPHE0 4C4444E0 EH1248V0 V2421HE0 26AIV220 VGU11HE0 68GUHHE0 V1248880 EHHEHHE0 EHHF12C0 0CC0CC00 0CC0C480 248G8420 00V0V000 84212480 EH124040 "
    "EH1DLLE0 EHHVHHH0 UHHUHHU0 EHGGGHE0 SIHHHIS0 VGGUGGV0 VGGUGGG0 EHGNHHF0 HHHVHHH0 E44444E0 72222IC0 HIKOKIH0 GGGGGGV0 HRLLHHH0 HHPLJHH0 EHHHHHE0 "
    "UHHUGGG0 EHHHLID0 UHHUKIH0 FGGE11U0 V4444440 HHHHHHE0 HHHHHA40 HHHLLLA0 HHA4AHH0 HHHA4440 V1248GV0 E88888E0 0G842100 E22222E0 4AH00000 0000000V "
    "84200000 00E1FHF0 GGMPHHU0 00EGGHE0 11DJHHF0 00EHVGE0 698S8880 00FHHF1E GGMPHHH0 40C444E0 206222IC GGIKOKI0 C44444E0 00QLLHH0 00MPHHH0 00EHHHE0 "
    "00UHHUGG 00DJHF11 00MPGGG0 00EGE1U0 88S88960 00HHHJD0 00HHHA40 00HHLLA0 00HA4AH0 00HHHF1E 00V248V0 24484420 44444444 84424480 008L2000").split()
FRAME = bytes((0, 0, 0x7C, *(0x44,) * 10, 0x7C, 0, 0))

BLOCKS = {"█": (0xFF,) * 16, "▀": (0xFF,) * 8 + (0,) * 8, "▄": (0,) * 8 + (0xFF,) * 8, "▌": (0xF0,) * 16, "▐": (0x0F,) * 16,
          "░": (0x22, 0x88) * 8, "▒": (0x55, 0xAA) * 8, "▓": (0xDD, 0x77) * 8, "■": (0,) * 4 + (0x7E,) * 8 + (0,) * 4}
BOX = "BOX DRAWINGS "
ARMS = {"UP": ("up",), "DOWN": ("down",), "LEFT": ("left",), "RIGHT": ("right",), "VERTICAL": ("up", "down"), "HORIZONTAL": ("left", "right")}
CENTRE_X, CENTRE_Y = 4, 8              # of a single line; the two of a double line are a pixel to either side of it
WEIGHTS = ("LIGHT", "SINGLE", "DOUBLE")


@functools.cache
def glyph(character: str) -> bytes:
    """A character's 16 rows, a byte each, the leftmost pixel in the highest bit."""
    if " " <= character <= "~":
        rows = (int(digit, 32) << WIDTH - POINTS - LEFT_MARGIN for digit in LETTERS[ord(character) - ord(" ")])
        return bytes(row for row in rows for _ in range(HEIGHT // GRID_ROWS))
    if character in BLOCKS:
        return bytes(BLOCKS[character])
    name = unicodedata.name(character, "")
    return _lines(name.removeprefix(BOX)) if name.startswith(BOX) else FRAME


def _lines(name: str) -> bytes:
    """A box drawing character: each arm from the edge to the centre, single or double."""
    weight, rows = "LIGHT", [0] * HEIGHT
    parts = name.split(" AND ")
    if parts[0].split()[0] in WEIGHTS:
        weight, parts[0] = parts[0].split(maxsplit=1)
    for part in parts:
        direction, _, own = part.partition(" ")
        offsets = (-1, 1) if (own or weight) == "DOUBLE" else (0,)
        for arm in ARMS[direction]:
            for offset in offsets:
                _arm(rows, arm, offset)
    return bytes(rows)


def _arm(rows: list[int], arm: str, offset: int) -> None:
    if arm in ("up", "down"):
        reach = range(CENTRE_Y + 2) if arm == "up" else range(CENTRE_Y - 1, HEIGHT)
        for row in reach:
            rows[row] |= 0x80 >> CENTRE_X + offset
    else:
        rows[CENTRE_Y + offset] |= 0xFF << WIDTH - CENTRE_X - 2 & 0xFF if arm == "left" else 0xFF >> CENTRE_X - 1
