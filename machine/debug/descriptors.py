"""The global descriptor table and the task-state segment of a processor, in words.

Source: Intel SDM volume 3A, 3.4.5 "Segment Descriptors", 3.5 "System Descriptor Types" (table 3-2), 8.2.1 and 8.7 (TSS, 32 and 64-bit).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.debug.registers import BY_NAME
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
    """The table, a descriptor a line, empty ones left out. Raises TargetError where it is not mapped."""
    vcpu = target.vcpu(cpu)
    base, limit = vcpu.field(abi.ENV_GDT + 8, 8), vcpu.field(abi.ENV_GDT + abi.SEGMENT_LIMIT, 4)
    wide = bool(BY_NAME["efer"].read(vcpu) & LMA)
    lines = [f"GDT at {base:#x}, limit {limit:#x}"]
    data = target.read(cpu, base, min(limit + 1, MOST * DESCRIPTOR))
    at = DESCRIPTOR
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
    kind, ring = entry >> 40 & 0xF, entry >> 45 & 3
    present = "" if entry >> 47 & 1 else ", not present"
    base = entry >> 16 & 0xFFFFFF | entry >> 32 & 0xFF000000 | (upper & 0xFFFFFFFF) << 32
    limit = entry & 0xFFFF | entry >> 32 & 0xF0000
    limit = limit << 12 | 0xFFF if entry >> 55 & 1 else limit
    if not entry >> 44 & 1:
        name = SYSTEM_TYPES.get(kind, f"reserved type {kind:#x}")
        return f"{name}, DPL {ring}{present}" if kind in GATES else f"{name}, base {base:#x}, limit {limit:#x}, DPL {ring}{present}"
    bits = "64-bit" if entry >> 53 & 1 else "32-bit" if entry >> 54 & 1 else "16-bit"
    name = f"{bits} code, {'readable' if kind & 2 else 'execute only'}" if kind & 8 else f"data, {'writable' if kind & 2 else 'read only'}"
    return f"{name}, base {base:#x}, limit {limit:#x}, DPL {ring}{present}"


def tss(target: Target, cpu: int) -> list[str]:
    """The stacks that the task-state segment names. Raises TargetError where there is none, or it is not mapped."""
    vcpu = target.vcpu(cpu)
    selector, base = vcpu.field(abi.ENV_TR, 4), vcpu.field(abi.ENV_TR + 8, 8)
    if not selector & ~7:
        raise TargetError(f"processor {cpu} has loaded no task-state segment")
    lines = [f"TSS {selector:#x} at {base:#x}, limit {vcpu.field(abi.ENV_TR + abi.SEGMENT_LIMIT, 4):#x}"]
    if BY_NAME["efer"].read(vcpu) & LMA:
        places = [(f"RSP{ring}", 4 + 8 * ring, 8) for ring in range(3)] + [(f"IST{number}", 0x1C + 8 * number, 8) for number in range(1, 8)]
    else:
        places = [(f"{name}{ring}", 4 + 8 * ring + offset, 4) for ring in range(3) for name, offset in (("ESP", 0), ("SS", 4))]
    for name, offset, size in places:
        value = int.from_bytes(target.read(cpu, base + offset, size), "little")
        if value:
            lines.append(f"  {name} {value:#x}")
    return lines
