"""Keystone, with sections, symbols and errors that name a line.

Keystone assembles one text to one run of bytes and reports neither where a label landed nor which line it rejects. So the sections of a unit are
laid one behind the other in one text, a table of all labels' addresses is assembled behind them and cut off again, and after an error the
first line that cannot be assembled is found by bisection.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from images.errors import ImageError
from images.preprocessor import Line, Unit


@dataclass(frozen=True, slots=True)
class Section:
    """Assembled bytes and the address they were assembled for."""

    name: str
    address: int
    data: bytes

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True)
class Assembly:
    """A unit as bytes.

    Attributes:
        sections: in the order they were laid out.
        symbols: address by name, of every label.
    """

    sections: tuple[Section, ...]
    symbols: dict[str, int]

    def section(self, name: str) -> Section:
        """The section called `name`."""
        return next(section for section in self.sections if section.name == name)


def assemble(unit: Unit, base: int, order: Sequence[str], alignment: int, bits: int = 64) -> Assembly:
    """Lay the sections `order` of a unit from `base` on, each at a multiple of `alignment`, between the labels NAME_start and NAME_end.

    Raises:
        ImageError: a line cannot be assembled, a name has no label, or a section is not in `order`.
    """
    stray = [name for name in unit.sections if name not in order]
    if stray:
        raise unit.sections[stray[0]][0].error(f"there is no section {stray[0]!r} here, only {', '.join(order)}")
    here = Line("", unit.files[0], 0)
    lines: list[Line] = []
    for name in order:
        lines += [Line(f".balign {alignment:#x}", here.file, 0), Line(f"{name}_start:", here.file, 0), *unit.sections.get(name, []),
                  Line(f"{name}_end:", here.file, 0)]
    names = [*(f"{name}_{edge}" for name in order for edge in ("start", "end")), *unit.labels]
    lines += [Line(f".quad {name}", here.file, 0) for name in names]
    code = _assemble(lines, base, bits, frozenset(names))
    addresses = dict(zip(names, struct.unpack(f"<{len(names)}Q", code[len(code) - 8 * len(names):]), strict=True))
    sections = tuple(Section(name, addresses[f"{name}_start"], code[addresses[f"{name}_start"] - base:addresses[f"{name}_end"] - base]) for name in order)
    for section in sections:
        if section.address % alignment or section.end > base + len(code):
            raise here.error(f"keystone put the section {section.name} at {section.address:#x}")
    return Assembly(sections, {name: addresses[name] for name in unit.labels})


def _assemble(lines: Sequence[Line], base: int, bits: int, labels: frozenset[str]) -> bytes:
    import keystone

    mode = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}[bits]
    engine = keystone.Ks(keystone.KS_ARCH_X86, mode)
    try:
        code, _count = engine.asm("\n".join(line.text for line in lines), base, as_bytes=True)
    except keystone.KsError as error:
        raise _locate(engine, lines, base, labels, str(error)) from None
    if not code:
        raise lines[0].error("keystone produced nothing, and does not say why")
    return bytes(code)


def _locate(engine: Any, lines: Sequence[Line], base: int, labels: frozenset[str], message: str) -> ImageError:
    """The error of the first line that keystone rejects, or that names a label that does not exist."""
    import keystone

    missing: set[str] = set()

    def resolve(name: bytes, value: Any) -> bool:
        if name.decode() not in labels:
            missing.add(name.decode())
        value[0] = base
        return True

    def accepted(count: int) -> bool:
        try:
            engine.asm("\n".join(line.text for line in lines[:count]), base, as_bytes=True)
        except keystone.KsError:
            return False
        return True

    engine.sym_resolver = resolve
    if accepted(len(lines)):
        for line in lines:
            words = set(line.text.replace("[", " ").replace("]", " ").replace(",", " ").replace("+", " ").replace("-", " ").split())
            if unknown := sorted(words & missing):
                return line.error(f"there is no label {unknown[0]}")
        return lines[0].error(f"no label {', '.join(sorted(missing)) or '?'}: {message}")
    low, high = 0, len(lines)                           # lines[:low] is accepted, lines[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    return lines[low].error(f"keystone refuses `{lines[low].text}`: {message.partition(' (')[0].lower()}")
