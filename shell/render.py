"""Values to text for a terminal: aligned columns, human units, colour by kind, no line wider than the terminal.

Cells come from guests, logs and synthesized code: no control character of theirs reaches the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

from kernel.telemetry import Column, Kind
from shell.quantities import NUMERIC, write_value

if TYPE_CHECKING:
    from jit_synth.values import Value

GAP = "  "
ELLIPSIS = "…"
NARROWEST = 8                  # cells that a shortened text column keeps
RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = (f"\x1b[{code}m" for code in range(31, 37))
KIND_COLOURS = {Kind.SIZE: CYAN, Kind.DURATION: YELLOW, Kind.ADDRESS: BLUE, Kind.TIME: MAGENTA, Kind.BOOLEAN: MAGENTA}
WORD_COLOURS = {"error": RED, "critical": RED, "panic": RED, "dead": RED, "killed": RED, "warning": YELLOW, "warn": YELLOW, "running": GREEN}
BUSY, VERY_BUSY = 0.5, 0.9     # ratios from which yellow and red begin

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")           # C0, C1, and what reorders a line
_CONTROL_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def render(value: Value | None, width: int = 80, colour: bool = False) -> str:
    """The text of a value, lines ended by newlines; empty for nothing."""
    from jit_synth.values import Record, Scalar, Table, Text

    match value:
        case Table(columns=columns, rows=rows):
            return _lines(_table(columns, rows, width, colour))
        case Record(columns=columns, values=values):
            return _lines(_record(columns, values, width, colour))
        case Text(text=text):
            safe = _CONTROL_IN_TEXT.sub("·", text.replace("\r\n", "\n"))
            return safe if safe.endswith("\n") or not safe else safe + "\n"
        case Scalar(value=scalar, kind=kind):
            return _paint(_safe(write_value(scalar, kind)), scalar, kind, colour) + "\n"
        case _:
            return ""


def cells(text: str) -> int:
    """The terminal cells that a printable text takes (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(0 if _takes_no_cell(character) else 2 if east_asian_width(character) in "WF" else 1 for character in text)


def _takes_no_cell(character: str) -> bool:
    """Marks on the character before, zero-width blanks and joiners, and the vowels of a decomposed Hangul syllable."""
    return category(character) in ("Mn", "Me") or "\u200b" <= character <= "\u200d" or "\u1160" <= character <= "\u11ff"


def shorten(text: str, width: int) -> str:
    """The text in at most `width` cells, with an ellipsis where it was cut."""
    if cells(text) <= width:
        return text
    if width <= 0:
        return ""
    while cells(text) > width - 1:
        text = text[:max(0, min(len(text) - 1, width - 1))]
    return text + ELLIPSIS


def _table(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int, colour: bool) -> list[str]:
    if not columns:
        return ["(no columns)"]
    written = [[_safe(write_value(cell, column.kind)) for cell, column in zip(row, columns, strict=True)] for row in rows]
    naturals = [max([cells(column.name), *(cells(row[index]) for row in written)]) for index, column in enumerate(columns)]
    widths = _fit(naturals, [column.kind not in NUMERIC for column in columns], width)
    shown = columns[:len(widths)]

    lines = [_header(shown, widths, colour)]
    for row, texts in zip(rows, written, strict=True):
        line = GAP.join(_cell(text, value, column.kind, space, colour) for text, value, column, space in zip(texts, row, shown, widths, strict=False))
        lines.append(line if colour else line.rstrip())
    if not rows:
        lines.append(shorten("(no rows)", width))
    if hidden := [column.name for column in columns[len(widths):]]:
        lines.append(shorten(f"{ELLIPSIS} and {', '.join(hidden)}: select them to see them", width))
    return lines


def _fit(naturals: list[int], may_shrink: list[bool], width: int) -> list[int]:
    """The width of each column that is shown: the widest text columns give first, then columns are left out from the right."""
    widths = list(naturals)
    while widths:
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
        if excess <= 0:
            break
        shrinkable = [index for index in range(len(widths)) if may_shrink[index] and widths[index] > NARROWEST]
        if not shrinkable:
            if len(widths) == 1:
                return [max(1, width)]
            widths = naturals[:len(widths) - 1]
            continue
        widest = max(shrinkable, key=lambda index: widths[index])
        others = [widths[index] for index in shrinkable if widths[index] < widths[widest]]
        widths[widest] = max(NARROWEST, widths[widest] - excess, max(others, default=NARROWEST) - 1)
    return widths


def _header(columns: Sequence[Column], widths: list[int], colour: bool) -> str:
    names = [_aligned(shorten(_safe(column.name), space), column.kind, space) for column, space in zip(columns, widths, strict=True)]
    line = GAP.join(names).rstrip()
    return f"{BOLD}{line}{RESET}" if colour else f"{line}\n{GAP.join('-' * space for space in widths)}"


def _cell(text: str, value: object, kind: Kind, space: int, colour: bool) -> str:
    short = shorten(text, space)
    pad = " " * (space - cells(short))
    painted = _paint(short, value, kind, colour)
    return pad + painted if kind in NUMERIC else painted + pad


def _aligned(text: str, kind: Kind, space: int) -> str:
    pad = " " * (space - cells(text))
    return pad + text if kind in NUMERIC else text + pad


def _record(columns: Sequence[Column], values: Sequence[object], width: int, colour: bool) -> list[str]:
    label = max((cells(column.name) for column in columns), default=0)
    lines = []
    for column, value in zip(columns, values, strict=True):
        name = _safe(column.name) + " " * (label - cells(column.name))
        text = shorten(_safe(write_value(value, column.kind)), max(1, width - label - len(GAP)))
        lines.append(f"{BOLD}{name}{RESET}{GAP}{_paint(text, value, column.kind, True)}" if colour else f"{name}{GAP}{text}")
    return lines


def _paint(text: str, value: object, kind: Kind, colour: bool) -> str:
    if not colour or not text:
        return text
    if kind is Kind.RATIO and isinstance(value, (int, float)):
        code = RED if value >= VERY_BUSY else YELLOW if value >= BUSY else GREEN
    else:
        code = WORD_COLOURS.get(text.casefold(), "") if kind is Kind.TEXT else KIND_COLOURS.get(kind, "")
    return f"{code}{text}{RESET}" if code else text


def _safe(text: str) -> str:
    return _CONTROL.sub("·", text)


def _lines(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)
