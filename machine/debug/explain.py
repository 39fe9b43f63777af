"""Why did it fault: a processor's last exceptions in words, with the instruction that did it, and the table entry or page walk that made it.

Source: Intel SDM volume 3A, chapter 6 "Interrupt and Exception Handling" (table 6-1, 6.13 error codes, 6.15 #DF and #PF).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.debug.descriptors import descriptor_at
from machine.debug.disassembly import decode
from machine.debug.symbols import NO_SYMBOLS
from machine.engine import abi
from machine.errors import TargetError

if TYPE_CHECKING:
    from machine.debug.symbols import Symbols
    from machine.debug.target import Target
    from machine.engine.exceptions import DeliveredException

NAMES = {0: "#DE divide error", 1: "#DB debug", 2: "NMI", 3: "#BP breakpoint", 4: "#OF overflow", 5: "#BR bound range", 6: "#UD invalid opcode",
         7: "#NM device not available", 8: "#DF double fault", 10: "#TS invalid TSS", 11: "#NP segment not present", 12: "#SS stack fault",
         13: "#GP general protection", 14: "#PF page fault", 16: "#MF x87", 17: "#AC alignment check", 18: "#MC machine check", 19: "#XM SIMD"}
WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
WITH_SELECTOR = frozenset({10, 11, 12, 13})
GATES = {0x5: "task gate", 0x6: "16-bit interrupt gate", 0x7: "16-bit trap gate", 0xE: "interrupt gate", 0xF: "trap gate"}
PAGE_FAULT, DOUBLE_FAULT = 14, 8
SHOWN = 8
NEW_STACK = 0x7                      # of a 64-bit gate: which of the TSS's stacks


def why(target: Target, cpu: int, symbols: Symbols) -> list[str]:
    """The last exceptions of a processor, oldest first, and what stands behind the last one that no instruction asked for."""
    target.vcpu(cpu)
    exceptions = target.machine.engine.exceptions.last(cpu)[-SHOWN:]
    if not exceptions:
        return [f"processor {cpu} has met no exception yet"]
    lines = [sentence(exception, symbols) for exception in exceptions]
    first = next((number for number in reversed(range(len(exceptions))) if not exceptions[number].software), len(exceptions) - 1)
    if exceptions[first].vector == DOUBLE_FAULT and first and not exceptions[first - 1].software:
        first -= 1                                       # the one whose delivery failed says more
    last, before = exceptions[first], exceptions[first - 1] if first else None
    lines.append(f"behind the {title(last)}, as it is now:")
    if before is None or not before.software or before.rip != last.rip:     # an INT that could not be delivered: its instruction is the one before
        lines += _instruction(target, cpu, last, symbols)
    if last.vector == PAGE_FAULT:
        lines += walk_lines(target, cpu, last.cr2)
    elif last.vector in WITH_SELECTOR and last.error:
        lines += _selector(target, cpu, last.error)
    lines += ["  " + gate(target, cpu, one.vector, symbols) for one in exceptions[first:]]
    if target.vcpu(cpu).activity.value == "shutdown":
        lines.append("the exception met while #DF was being delivered was a third one: the processor has shut down (triple fault)")
    return lines


def title(exception: DeliveredException) -> str:
    """Its name."""
    if exception.software:
        return {3: "INT3", 4: "INTO"}.get(exception.vector, f"INT {exception.vector:#x}")
    return NAMES.get(exception.vector, f"exception {exception.vector:#x}")


def sentence(exception: DeliveredException, symbols: Symbols) -> str:
    """One exception."""
    where = f"{symbols.describe(exception.cs_base + exception.rip)}, {exception.bits}-bit code, ring {exception.ring}"
    if exception.software:
        return f"{title(exception)}, to go on at {where}"
    text = f"{title(exception)} at {where}"
    if exception.vector == PAGE_FAULT:
        code = exception.error
        did = "an instruction was fetched from" if code & 0x10 else "a write to" if code & 2 else "a read of"
        broke = "a reserved bit is set in an entry" if code & 8 else "the page's rights forbid it" if code & 1 else "not present"
        text += f": {did} {symbols.describe(exception.cr2)}{'' if code & 4 else ' by the supervisor'}: {broke}"
    elif exception.vector in WITH_ERROR_CODE and exception.error:
        text += f": error code {exception.error:#x}"
        if exception.vector in WITH_SELECTOR:
            table = "IDT vector" if exception.error & 2 else "LDT selector" if exception.error & 4 else "GDT selector"
            text += f" ({table} {exception.error >> 3 if exception.error & 2 else exception.error & ~7:#x})"
    return text


def _instruction(target: Target, cpu: int, exception: DeliveredException, symbols: Symbols) -> list[str]:
    """The instruction itself, if it can be read now; none for a trap, which names the one behind."""
    if exception.software:
        return []
    try:
        found = decode(target, cpu, exception.cs_base + exception.rip, 1, exception.bits)[0]
    except TargetError:
        return [f"  its instruction at {exception.cs_base + exception.rip:#x} is not mapped"]
    return [f"  {symbols.describe(found.address)}  {found.code.hex()}  {found.text}"]


def _selector(target: Target, cpu: int, error: int) -> list[str]:
    """What an error code's selector names; an IDT vector's gate is told like that of any other."""
    if error & 2:
        return ["  " + gate(target, cpu, error >> 3)]
    try:
        return [f"  {'LDT' if error & 4 else 'GDT'} {error & ~7:#06x}: {descriptor_at(target, cpu, error & ~3)}"]
    except TargetError as trouble:
        return [f"  {trouble}"]


def walk_lines(target: Target, cpu: int, linear: int) -> list[str]:
    """A page walk, an entry a line."""
    walk = target.walk(cpu, linear)
    lines = [f"  {walk.mode} walk of {linear:#x}, CR3 {target.value(cpu, 'cr3'):#x}"]
    lines += [f"    {step.level:5} at {step.address:#x}: {step.entry:#018x}  {step.words}" for step in walk.steps]
    if walk.physical is not None:
        lines.append(f"    = {walk.physical:#x}, {walk.rights}")
    return lines


def gate(target: Target, cpu: int, vector: int, symbols: Symbols = NO_SYMBOLS) -> str:
    """Where the processor's table leads for a vector."""
    vcpu = target.vcpu(cpu)
    base, limit = vcpu.field(abi.ENV_IDT + abi.SEGMENT_BASE, 8), vcpu.field(abi.ENV_IDT + abi.SEGMENT_LIMIT, 4)
    protected = target.value(cpu, "cr0") & 1
    size = 16 if target.value(cpu, "efer") & 0x400 else 8 if protected else 4
    if vector * size + size - 1 > limit:
        return f"vector {vector:#04x} is beyond the {'IDT' if protected else 'IVT'}'s limit of {limit:#x}"
    try:
        data = target.read(cpu, base + vector * size, size)
    except TargetError:
        return f"vector {vector:#04x}: the IDT is not mapped there, at {base + vector * size:#x}"
    if not protected:
        segment, offset = int.from_bytes(data[2:4], "little"), int.from_bytes(data[:2], "little")
        return f"vector {vector:#04x}: leads to {segment:04x}:{offset:04x}, {symbols.describe((segment << 4) + offset)}"
    if not any(data):
        return f"vector {vector:#04x}: empty"
    offset = int.from_bytes(data[:2] + data[6:8] + (data[8:12] if size == 16 else b""), "little")
    kind = GATES.get(data[5] & 0xF, f"descriptor of type {data[5] & 0xF:#x}")
    present = "" if data[5] & 0x80 else ", not present"
    stack = f", IST {data[4] & NEW_STACK}" if size == 16 and data[4] & NEW_STACK else ""
    return f"vector {vector:#04x}: {kind} to {int.from_bytes(data[2:4], 'little'):#x}:{symbols.describe(offset)}, DPL {data[5] >> 5 & 3}{stack}{present}"
