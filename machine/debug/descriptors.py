"""The descriptor tables and the task-state segment of a processor, in words.

Source: Intel SDM volume 3A, 3.4.5 "Segment Descriptors", 3.5 "System Descriptor Types" (table 3-2), 8.2.1 and 8.7 (TSS, 32 and 64-bit).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.errors import TargetError
from machine.engine import abi

if TYPE_CHECKING:
    from machine.debug.target import Target

LMA = 1 << 10
SYSTEM_TYPES = {1: "16-bit TSS", 2: "LDT", 3: "16-bit TSS, busy", 4: "16-bit call gate", 5: "task gate", 6: "16-bit interrupt gate", 7: "16-bit trap gate",
                9: "TSS", 11: "TSS, busy", 12: "call gate", 14: "interrupt gate", 15: "trap gate"}
GATES = frozenset({4, 5, 6, 7, 12, 14, 15})
MOST = 64                            # descriptors that are listed
DESCRIPTOR = 8


def gdt(target: Target, cpu: int) -> list[str]:
    """The global table, a descriptor a line, empty ones left out. Raises TargetError where it is not mapped."""
    return _table(target, cpu, "GDT", abi.ENV_GDT, DESCRIPTOR)


def ldt(target: Target, cpu: int) -> list[str]:
    """The local table. Raises TargetError where there is none, or it is not mapped."""
    if not target.vcpu(cpu).field(abi.ENV_LDT, 4) & ~3:
        raise TargetError(f"processor {cpu} has loaded no local descriptor table")
    return _table(target, cpu, "LDT", abi.ENV_LDT, 0)


def descriptor_at(target: Target, cpu: int, selector: int) -> str:
    """The descriptor that a selector names. Raises TargetError where there is none."""
    vcpu = target.vcpu(cpu)
    table = abi.ENV_LDT if selector & 4 else abi.ENV_GDT
    at, limit = selector & ~7, vcpu.field(table + abi.SEGMENT_LIMIT, 4)
    if at + DESCRIPTOR - 1 > limit:
        raise TargetError(f"selector {selector:#x} is beyond the {'LDT' if selector & 4 else 'GDT'}'s limit of {limit:#x}")
    data = target.read(cpu, vcpu.field(table + abi.SEGMENT_BASE, 8) + at, 2 * DESCRIPTOR)
    entry = int.from_bytes(data[:DESCRIPTOR], "little")
    return descriptor(entry, int.from_bytes(data[DESCRIPTOR:], "little") if _wide(target, cpu) else 0) if entry else "empty"


def _wide(target: Target, cpu: int) -> bool:
    return bool(target.value(cpu, "efer") & LMA)


def _table(target: Target, cpu: int, name: str, place: int, at: int) -> list[str]:
    vcpu = target.vcpu(cpu)
    base, limit = vcpu.field(place + abi.SEGMENT_BASE, 8), vcpu.field(place + abi.SEGMENT_LIMIT, 4)
    wide = _wide(target, cpu)
    lines = [f"{name} at {base:#x}, limit {limit:#x}"]
    data = target.read(cpu, base, min(limit + 1, MOST * DESCRIPTOR))
    while at + DESCRIPTOR <= len(data):
        entry = int.from_bytes(data[at:at + DESCRIPTOR], "little")
        system = not entry >> 44 & 1
        size = 2 * DESCRIPTOR if wide and system and entry else DESCRIPTOR
        if entry:
            lines.append(f"  {at:#06x}: {descriptor(entry, int.from_bytes(data[at + DESCRIPTOR:at + size], 'little'))}")
        at += size
    return lines


def descriptor(entry: int, upper: int = 0) -> str:
    """One descriptor. Args: entry: its eight bytes. upper: the eight behind them, of a system descriptor in long mode."""
    kind, rights = entry >> 40 & 0xF, _rights(entry)
    base = entry >> 16 & 0xFFFFFF | entry >> 32 & 0xFF000000 | (upper & 0xFFFFFFFF) << 32
    limit = entry & 0xFFFF | entry >> 32 & 0xF0000
    limit = limit << 12 | 0xFFF if entry >> 55 & 1 else limit
    if not entry >> 44 & 1:
        return f"{_name(entry)}, {rights}" if kind in GATES else f"{_name(entry)}, base {base:#x}, limit {limit:#x}, {rights}"
    return f"{_name(entry)}, base {base:#x}, limit {limit:#x}, {rights}"


def kind_of(entry: int) -> str:
    """The same, of the hidden part of a segment register: without base and limit."""
    return f"{_name(entry)}, {_rights(entry)}"


def _name(entry: int) -> str:
    kind = entry >> 40 & 0xF
    if not entry >> 44 & 1:
        return SYSTEM_TYPES.get(kind, f"reserved type {kind:#x}")
    bits = "64-bit" if entry >> 53 & 1 else "32-bit" if entry >> 54 & 1 else "16-bit"
    return f"{bits} code, {'readable' if kind & 2 else 'execute only'}" if kind & 8 else f"data, {'writable' if kind & 2 else 'read only'}"


def _rights(entry: int) -> str:
    return f"DPL {entry >> 45 & 3}" + ("" if entry >> 47 & 1 else ", not present")


def tss(target: Target, cpu: int) -> list[str]:
    """The stacks that the task-state segment names. Raises TargetError where there is none, or it is not mapped."""
    vcpu = target.vcpu(cpu)
    selector, base = vcpu.field(abi.ENV_TR, 4), vcpu.field(abi.ENV_TR + 8, 8)
    if not selector & ~7:
        raise TargetError(f"processor {cpu} has loaded no task-state segment")
    lines = [f"TSS {selector:#x} at {base:#x}, limit {vcpu.field(abi.ENV_TR + abi.SEGMENT_LIMIT, 4):#x}"]
    if _wide(target, cpu):
        places = [(f"RSP{ring}", 4 + 8 * ring, 8) for ring in range(3)] + [(f"IST{number}", 0x1C + 8 * number, 8) for number in range(1, 8)]
    else:
        places = [(f"{name}{ring}", 4 + 8 * ring + offset, 4) for ring in range(3) for name, offset in (("ESP", 0), ("SS", 4))]
    for name, offset, size in places:
        value = int.from_bytes(target.read(cpu, base + offset, size), "little")
        if value:
            lines.append(f"  {name} {value:#x}")
    return lines
