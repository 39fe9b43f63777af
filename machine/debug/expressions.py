"""Numbers as they are typed at the console: 0x1f, 31, a symbol, a register, segment:offset, and + and - between any of these.

    rsp+8     $rsp+8     main+0x12     f000:fff0     ds:si     eax

A register may stand with or without a $; a symbol of the same name goes first where there is none. In segment:offset both are hexadecimal; a segment register
brings its own base, a number is one of real mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.debug.registers import BY_NAME, GENERAL, SEGMENTS
from machine.engine import abi

if TYPE_CHECKING:
    from machine.debug.symbols import Symbols
    from machine.debug.target import Target

COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")


def _parts() -> dict[str, tuple[str, int, int]]:
    """Parts of the general registers: name -> (whole register, lowest bit, bits)."""
    found: dict[str, tuple[str, int, int]] = {"eip": ("rip", 0, 32), "rflags": ("eflags", 0, 32)}
    for whole in GENERAL:
        letters = whole[1:]
        if letters.isdigit():
            found |= {f"{whole}d": (whole, 0, 32), f"{whole}w": (whole, 0, 16), f"{whole}b": (whole, 0, 8)}
            continue
        found |= {f"e{letters}": (whole, 0, 32), letters: (whole, 0, 16)}
        if letters.endswith("x"):
            found |= {f"{letters[0]}l": (whole, 0, 8), f"{letters[0]}h": (whole, 8, 8)}
        else:
            found[f"{letters}l"] = (whole, 0, 8)
    return found


PARTS = _parts()


def register(target: Target, cpu: int, name: str) -> int | None:
    """The value of a register or of part of one; None if there is none of that name. IP is the offset in the code segment, RIP linear."""
    vcpu = target.vcpu(cpu)
    if name in ("ip", "eip") and not vcpu.in_long_mode:
        return vcpu.rip
    if name in BY_NAME:
        return target.value(cpu, name)
    if name in PARTS:
        whole, low, bits = PARTS[name]
        return target.value(cpu, whole) >> low & (1 << bits) - 1
    return None


def set_register(target: Target, cpu: int, name: str, value: int) -> None:
    """Write a register or part of one. Raises TargetError for a value that it cannot hold, ValueError for a name that is none, or too large a value."""
    vcpu = target.vcpu(cpu)
    if name in ("ip", "eip") and not vcpu.in_long_mode:
        bits = 16 if name == "ip" else 32
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} has {bits} bits")
        name, value = "rip", vcpu.cs_base + value
    elif name in PARTS:
        whole, low, bits = PARTS[name]
        if not -(1 << bits - 1) <= value < 1 << bits:
            raise ValueError(f"{name} has {bits} bits")
        mask = (1 << bits) - 1
        old = target.value(cpu, whole)
        name, value = whole, old & ~(mask << low) | (value & mask) << low
    if name not in BY_NAME:
        raise ValueError(f"there is no register {name}")
    bits = BY_NAME[name].bits
    if not -(1 << bits - 1) <= value < 1 << bits:
        raise ValueError(f"{name} has {bits} bits")
    target.write_register(cpu, BY_NAME[name], (value & (1 << bits) - 1).to_bytes(bits // 8, "little"))


def number(target: Target, cpu: int, symbols: Symbols, text: str) -> int:
    """What a text says. Raises ValueError, with the part that says nothing."""
    for sign in ("+", "-"):
        left, found, right = text.rpartition(sign)
        if found and left:
            return number(target, cpu, symbols, left) + (1 if sign == "+" else -1) * number(target, cpu, symbols, right)
    segment, colon, offset = text.partition(":")
    if colon:
        return _base(target, cpu, segment) + _offset(target, cpu, offset)
    known = None if text.startswith("$") else symbols.address(text)
    if known is None:
        known = register(target, cpu, text.removeprefix("$").lower())
    if known is not None:
        return known
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{text} is no number, symbol or register") from None


def _base(target: Target, cpu: int, text: str) -> int:
    name = text.removeprefix("$").lower()
    if name in SEGMENTS:
        return target.vcpu(cpu).field(abi.ENV_SEGS + SEGMENTS[name] * abi.ENV_SEG_SIZE + abi.SEGMENT_BASE, 8)
    return _hexadecimal(text) << 4


def _offset(target: Target, cpu: int, text: str) -> int:
    known = register(target, cpu, text.removeprefix("$").lower())
    return known if known is not None else _hexadecimal(text)


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ValueError(f"{text} is no hexadecimal number or register") from None


def holds(target: Target, cpu: int, symbols: Symbols, text: str) -> bool:
    """Whether a condition is true: two numbers with ==, !=, <, <=, > or >= between them, or one that is not 0. Raises ValueError."""
    for sign in COMPARISONS:
        left, found, right = text.partition(sign)
        if found:
            first, second = (number(target, cpu, symbols, part.strip()) for part in (left, right))
            return {"==": first == second, "!=": first != second, "<": first < second, "<=": first <= second, ">": first > second, ">=": first >= second}[sign]
    return number(target, cpu, symbols, text.strip()) != 0
