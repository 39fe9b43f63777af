"""Why did it fault: the last exceptions in words, with the table entry or page walk that made them.

Source: Intel SDM volume 3A, chapter 6 "Interrupt and Exception Handling" (table 6-1, 6.13 error codes, 6.15 #DF and #PF).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from machine.debug.registers import BY_NAME
from machine.engine import abi

if TYPE_CHECKING:
    from machine.debug.target import Target
    from machine.engine.engine import DeliveredException

NAMES = {0: "#DE divide error", 1: "#DB debug", 2: "NMI", 3: "#BP breakpoint", 4: "#OF overflow", 5: "#BR bound range", 6: "#UD invalid opcode",
         7: "#NM device not available", 8: "#DF double fault", 10: "#TS invalid TSS", 11: "#NP segment not present", 12: "#SS stack fault",
         13: "#GP general protection", 14: "#PF page fault", 16: "#MF x87", 17: "#AC alignment check", 18: "#MC machine check", 19: "#XM SIMD"}
WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
WITH_SELECTOR = frozenset({10, 11, 12, 13})
GATES = {0x5: "task gate", 0x6: "16-bit interrupt gate", 0x7: "16-bit trap gate", 0xE: "interrupt gate", 0xF: "trap gate"}
PAGE_FAULT, DOUBLE_FAULT = 14, 8


def why(target: Target, cpu: int) -> list[str]:
    """The last exceptions, oldest first, and what stands behind the last."""
    exceptions = target.machine.engine.last_exceptions()
    if not exceptions:
        return ["no exception has been delivered yet"]
    lines = [sentence(exception) for exception in exceptions]
    last = exceptions[-1]
    if last.vector == PAGE_FAULT:
        lines += walk_lines(target, cpu, last.cr2)
    lines.append(gate(target, cpu, last.vector))
    if target.machine.engine.vcpus[cpu].activity.value == "shutdown":
        lines.append("the exception met while #DF was being delivered was a third one: the processor has shut down (triple fault)")
    return lines


def sentence(exception: DeliveredException) -> str:
    """One exception."""
    name = NAMES.get(exception.vector, f"interrupt {exception.vector:#x}")
    text = f"{name} at RIP {exception.rip:#x}"
    if exception.vector == PAGE_FAULT:
        code = exception.error
        did = "fetched an instruction from" if code & 0x10 else "wrote" if code & 2 else "read"
        broke = "which the page's rights forbid" if code & 1 else "which is not present"
        text += f": {'ring 3' if code & 4 else 'the kernel'} {did} {exception.cr2:#x}, {broke}" + (" (a reserved bit is set)" if code & 8 else "")
    elif exception.vector in WITH_ERROR_CODE and exception.error:
        text += f": error code {exception.error:#x}"
        if exception.vector in WITH_SELECTOR:
            table = "IDT vector" if exception.error & 2 else "LDT selector" if exception.error & 4 else "GDT selector"
            text += f" ({table} {exception.error >> 3 if exception.error & 2 else exception.error & ~7:#x})"
    return text


def walk_lines(target: Target, cpu: int, linear: int) -> list[str]:
    """A page walk, an entry a line."""
    walk = target.walk(cpu, linear)
    lines = [f"  {walk.mode} walk of {linear:#x}, CR3 {BY_NAME['cr3'].read(target.vcpu(cpu)):#x}"]
    lines += [f"    {step.level:5} at {step.address:#x}: {step.entry:#x}{'' if step.entry & 1 else '  not present'}" for step in walk.steps]
    if walk.physical is not None:
        lines.append(f"    = {walk.physical:#x}, {walk.rights}")
    return lines


def gate(target: Target, cpu: int, vector: int) -> str:
    """Where the processor's table leads for a vector."""
    vcpu = target.vcpu(cpu)
    base, limit = vcpu.field(abi.ENV_IDT + 8, 8), vcpu.field(abi.ENV_IDT + 16, 4)
    protected = BY_NAME["cr0"].read(vcpu) & 1
    size = 16 if BY_NAME["efer"].read(vcpu) & 0x400 else 8 if protected else 4
    if vector * size + size - 1 > limit:
        return f"  vector {vector:#x} is beyond the {'IDT' if protected else 'IVT'}'s limit of {limit:#x}"
    data = target.read(cpu, base + vector * size, size)
    if not protected:
        return f"  vector {vector:#x} leads to {int.from_bytes(data[2:4], 'little'):04x}:{int.from_bytes(data[:2], 'little'):04x}"
    offset = int.from_bytes(data[:2] + data[6:8] + (data[8:12] if size == 16 else b""), "little")
    kind = GATES.get(data[5] & 0xF, f"descriptor of type {data[5] & 0xF:#x}")
    present = "" if data[5] & 0x80 else ", not present"
    stack = f", IST {data[4] & 7}" if size == 16 and data[4] & 7 else ""
    return f"  vector {vector:#x}: {kind} to {int.from_bytes(data[2:4], 'little'):#x}:{offset:#x}, DPL {data[5] >> 5 & 3}{stack}{present}"
