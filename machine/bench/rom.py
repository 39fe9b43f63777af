"""The loops that are timed, as ROM images that our PC and QEMU both start at the reset vector.

Each image switches to 64-bit mode, maps the first 2 MiB for code, the second for data that cannot be executed, the ROM and the local APIC, runs its
loop so many times and writes to the debug-exit port.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SIZE = 0x10000
BASE = (1 << 32) - SIZE
REAL, PROTECTED, LONG, GDT, GDTR = 0x100, 0x200, 0x400, 0x800, 0x840      # offsets in the image
STACK, DATA = 0x300000, 0x200000
EXIT_PORT = 0xF4
TABLES = """
    mov ax, 0x10; mov ds, ax; mov es, ax; mov ss, ax
    xor eax, eax; mov edi, 0x1000; mov ecx, 0x1000; rep stosd
    mov dword ptr [0x1000], 0x2003
    mov dword ptr [0x2000], 0x3003
    mov dword ptr [0x2018], 0x4003
    mov dword ptr [0x3000], 0x83
    mov dword ptr [0x3008], 0x200083
    mov dword ptr [0x300C], 0x80000000
    mov dword ptr [0x4FB8], 0xFEE00093
    mov dword ptr [0x4FF8], 0xFFE00083
    mov eax, cr4; or eax, 0x220; mov cr4, eax
    mov eax, 0x1000; mov cr3, eax
    mov ecx, 0xC0000080; rdmsr; or eax, 0x900; wrmsr
    mov eax, cr0; or eax, 0x80000000; mov cr0, eax
"""


@dataclass(frozen=True, slots=True)
class Loop:
    """One thing to do over and over.

    Attributes:
        name, doc: for the table.
        before: what is done once.
        body: what is done each time; RCX counts.
        after: subroutines that the body calls.
        rounds: how often, so that it takes about a third of a second.
        budget: (unit, number): "ratio" at least so much of QEMU's speed, "us" at most so many microseconds a round.
    """

    name: str
    doc: str
    body: str
    rounds: int
    budget: tuple[str, float]
    before: str = ""
    after: str = ""


LOOPS = (
    Loop("alu", "ALU loop", "add rax, rcx; xor rbx, rax; rol rbx, 7; lea rdx, [rax + rbx*4]", 60_000_000, ("ratio", 0.8)),
    Loop("load-store", "load and store, no-execute data", "mov rax, [rsi + 64]; add rax, rcx; mov [rsi], rax", 30_000_000, ("ratio", 0.8),
         f"mov esi, {DATA:#x}"),
    Loop("call-ret", "call and return", "call function", 12_000_000, ("ratio", 0.8), after="function: ret"),
    Loop("port", "port read, interrupt mask of the 8259A", "in al, 0x21", 300_000, ("us", 1.0)),
    Loop("mmio", "MMIO read, task priority of the local APIC", "mov eax, [rsi + 0x80]", 200_000, ("us", 2.0), "mov esi, 0xFEE00000"),
)


def _assemble(text: str, at: int, bits: int) -> bytes:
    import keystone

    mode = {32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}[bits]
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, mode).asm(text, at)
    return bytes(code)


def image(loop: Loop, rounds: int) -> bytes:
    """A ROM that does `loop` so many times, at least once, and exits with 0."""
    rom = bytearray(b"\xF4" * SIZE)

    def put(offset: int, data: bytes) -> None:
        rom[offset : offset + len(data)] = data

    put(GDT, struct.pack("<4Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF))
    put(GDTR, struct.pack("<HI", 0x1F, BASE + GDT))
    put(SIZE - 16, b"\xE9" + struct.pack("<H", REAL - (SIZE - 16 + 3) & 0xFFFF))                              # jmp to the 16-bit part
    put(REAL, b"\xFA\x2E\x66\x0F\x01\x16" + struct.pack("<H", GDTR)                                    # cli; lgdt cs:[gdtr]
        + b"\x0F\x20\xC0\x66\x83\xC8\x01\x0F\x22\xC0"                                                # mov eax, cr0; or eax, 1; mov cr0, eax
        + b"\x66\xEA" + struct.pack("<IH", BASE + PROTECTED, 0x08))                                   # jmp far
    tables = _assemble(TABLES, BASE + PROTECTED, 32)
    put(PROTECTED, tables + b"\xEA" + struct.pack("<IH", BASE + LONG, 0x18))
    put(LONG, _assemble(f"mov esp, {STACK:#x}; {loop.before}{';' if loop.before else ''} mov ecx, {max(rounds, 1)}; again: {loop.body}; dec rcx; jnz again;"
                        f"xor eax, eax; mov edx, {EXIT_PORT:#x}; out dx, eax; hlt; {loop.after}", BASE + LONG, 64))
    return bytes(rom)
