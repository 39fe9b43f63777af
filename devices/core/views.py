"""Chips for people: registers with their fields decoded, accesses of a trace as text, which registers were touched, and the table of a chip's registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from devices.core.declare import Layout, Register

if TYPE_CHECKING:
    from devices.core.registers import Chip


class Touch(NamedTuple):
    """One access, as traces see it. Values are little endian numbers of `size` bytes."""

    device: str
    block: str
    registers: str
    offset: int
    size: int
    write: bool
    value: int


@dataclass(frozen=True)
class RegisterView:
    """One register as a debugger shows it."""

    block: str
    name: str
    offset: int
    width: int
    value: int
    fields: dict[str, str]
    doc: str


@dataclass(frozen=True)
class Coverage:
    """Which registers a guest has touched since the chip was made: names, arrays with their index."""

    read: frozenset[str]
    written: frozenset[str]
    untouched: frozenset[str]


def describe(chip: Chip[Any]) -> list[RegisterView]:
    """Every register of every block, in the order of the declaration."""
    return [RegisterView(layout.name, register.title(index), offset, register.width, value, register.decode(value), register.doc)
            for layout, register, index, offset in _registers(chip)
            for value in [_value(chip, register, index)]]


def coverage(chip: Chip[Any], touched: set[tuple[str, str]]) -> Coverage:
    """What `touched`, pairs of a name and "read" or "written", leaves out."""
    names = {register.title(index) for _, register, index, _ in _registers(chip)}
    read = frozenset(name for name, how in touched if how == "read")
    written = frozenset(name for name, how in touched if how == "written")
    return Coverage(read, written, frozenset(names - read - written))


def explain(chip: Chip[Any], touch: Touch) -> str:
    """`device: LVT_TIMER <- 0x400ec (VECTOR 0xec, MASK 0, MODE PERIODIC)`. Registers that share a place are decoded one by one where they have fields."""
    text = f"{touch.device}: {touch.registers} {'<-' if touch.write else '->'} {touch.value:#x}"
    for layout, register, _, offset in _registers(chip):
        reached = register.writable if touch.write else register.readable
        if reached and register.fields and (layout.name, offset, register.width) == (touch.block, touch.offset, touch.size):
            name = f"{register.name}: " if "/" in touch.registers else ""
            text += f" ({name}{', '.join(f'{field} {content}' for field, content in register.decode(touch.value).items())})"
    return text


def reference(chip: type[Chip[Any]]) -> str:
    """The chip's registers as Markdown, one table a block: what its declaration says, nothing else."""
    lines = []
    for layout in chip.BLOCKS:
        lines += [f"## {chip.NAME}: {layout.name}, {layout.length:#x} bytes", "",
                  "| offset | width | register | access | reset | |", "|---|---|---|---|---|---|"]
        for register in sorted(layout.registers, key=lambda register: register.offset):
            name = f"{register.name}0..{register.count - 1}, every {register.stride:#x}" if register.array else register.name
            when = f" (while {register.when})" if register.when else ""
            lines.append(f"| {register.offset:#x} | {register.width} | {name}{when} | {register.access.value} | {register.reset:#x} | {register.doc} |")
            for field in register.fields:
                bits = str(field.msb) if field.msb == field.lsb else f"{field.msb}:{field.lsb}"
                lines.append(f"| | {bits} | {field.name} | {(field.access or register.access).value} | {field.get(register.reset):#x} | {field.doc} |")
        lines.append("")
    return "\n".join(lines)


def _registers(chip: Chip[Any]) -> Iterator[tuple[Layout, Register, int, int]]:
    """(layout, register, index, offset) of each."""
    for layout in chip.BLOCKS:
        for register in layout.registers:
            for index in range(register.count):
                yield layout, register, index, register.offset + index * register.stride


def _value(chip: Chip[Any], register: Register, index: int) -> int:
    """A register's value, whether or not a guest could read it now."""
    peek = getattr(chip, f"peek_{register.name}", None)
    if peek is not None:
        return int(peek(index) if register.array else peek())
    kept = getattr(chip.state, register.name.lower(), register.reset)
    return int(kept[index] if register.array and isinstance(kept, list) else kept)
