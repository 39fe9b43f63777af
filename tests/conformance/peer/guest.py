"""The guest: a firmware of our own that carries out a list of accesses and prints each answer on port 0xE9, on our PC as on any other.

It starts at the reset vector, so that nothing has touched a chip before it; goes to 64-bit mode with the first 4 GiB mapped to themselves; and then walks
through records of 16 bytes: operation, two arguments, address, value (`Op`, `record`). A read prints its answer in hexadecimal digits, two a byte; a wait
prints `ok` or `timeout`; a window in which interrupts are let in prints their vectors in the order in which they came. It ends by writing to port 0xF4.
"""

from __future__ import annotations

import enum
import re
import struct

import keystone

ALIGN = 0x10000                         # QEMU takes firmware in pieces of 64 KiB
TOP = 1 << 32
CODE = TOP - ALIGN                      # the last piece is code
REAL, PROTECTED, LONG, TAKEN, GDT, GDTR, IDTR, STUBS, STUB = 0x100, 0x200, 0x400, 0xC00, 0x1000, 0x1040, 0x1060, 0x2000, 16      # offsets in it
TABLES, IDT, STACK, SEEN = 0x1000, 0x10000, 0x90000, 0x20000      # RAM: page tables (six pages), IDT, stack, vectors that came
GATE = 0x8E00
RECORD = struct.Struct("<BBHIQ")
EOI_MASTER, EOI_SLAVE, EOI_LOCAL, READ_KEYBOARD = 1, 2, 4, 8      # what an interrupt's handler does, bits of WINDOW's first argument


class Op(enum.IntEnum):
    """What a record asks for; (argument; second argument; address; value)."""

    END = 0
    OUT = 1                             # (size; ; port; value)
    IN = 2                              # (size; ; port; mask)
    WRITE = 3                           # (size; ; address; value)
    READ = 4                            # (size; ; address; mask)
    WAIT_PORT = 5                       # (size; ; port; mask | wanted << 32)
    WAIT_MEMORY = 6                     # (4; ; address; mask | wanted << 32)
    DELAY = 7                           # (; ; ; rounds)
    WINDOW = 8                          # (EOI_...; interrupts at most; ; rounds)
    HALT = 9                            # (EOI_...): until an interrupt has come


def record(op: Op, argument: int = 0, second: int = 0, address: int = 0, value: int = 0) -> bytes:
    """One record."""
    return RECORD.pack(op, argument, second, address, value)


_TABLES = f"""
    mov ax, 0x10; mov ds, ax; mov es, ax; mov ss, ax; mov esp, {STACK}
    xor eax, eax; mov edi, {TABLES}; mov ecx, 0x1800; cld; rep stosd
    mov dword ptr [{TABLES}], {TABLES + 0x1003}
    mov dword ptr [{TABLES + 0x1000}], {TABLES + 0x2003}
    mov dword ptr [{TABLES + 0x1008}], {TABLES + 0x3003}
    mov dword ptr [{TABLES + 0x1010}], {TABLES + 0x4003}
    mov dword ptr [{TABLES + 0x1018}], {TABLES + 0x5003}
    mov edi, {TABLES + 0x2000}; mov eax, 0x83; mov ecx, 2048
map:
    mov [edi], eax; add eax, 0x200000; add edi, 8; dec ecx; jnz map
    mov edi, {IDT}; mov eax, {CODE + STUBS}; mov ecx, 256
gate:
    mov [edi], ax; mov word ptr [edi + 2], 0x18; mov word ptr [edi + 4], {GATE}; mov edx, eax; shr edx, 16; mov [edi + 6], dx
    mov dword ptr [edi + 8], 0; mov dword ptr [edi + 12], 0; add eax, {STUB}; add edi, 16; dec ecx; jnz gate
    mov eax, cr4; or eax, 0x220; mov cr4, eax
    mov eax, {TABLES}; mov cr3, eax
    mov ecx, 0xC0000080; rdmsr; or eax, 0x100; wrmsr
    mov eax, cr0; or eax, 0x80000000; mov cr0, eax
"""
# RSI walks through the records; EDX is the address, RAX the value, EBP the argument.
_MAIN = """
next:
    movzx ecx, byte ptr [rsi]; movzx ebp, byte ptr [rsi + 1]; movzx ebx, word ptr [rsi + 2]; mov edx, [rsi + 4]; mov rax, [rsi + 8]; add rsi, 16
    cmp ecx, 1; je do_out; cmp ecx, 2; je do_in; cmp ecx, 3; je do_write; cmp ecx, 4; je do_read; cmp ecx, 5; je do_wait; cmp ecx, 6; je do_wait
    cmp ecx, 7; je do_delay; cmp ecx, 8; je do_window; cmp ecx, 9; je do_halt
finish:
    mov dx, 0xf4; xor eax, eax; out dx, eax; cli; hlt

do_out:
    cmp ebp, 1; jne out2; out dx, al; jmp next
out2:
    cmp ebp, 2; jne out4; out dx, ax; jmp next
out4:
    out dx, eax; jmp next
do_in:
    mov r9, rax; call input; and rax, r9; call show; jmp next
input:
    xor eax, eax; cmp ebp, 1; jne in2; in al, dx; ret
in2:
    cmp ebp, 2; jne in4; in ax, dx; ret
in4:
    in eax, dx; ret
do_write:
    cmp ebp, 1; jne write2; mov [rdx], al; jmp next
write2:
    cmp ebp, 2; jne write4; mov [rdx], ax; jmp next
write4:
    cmp ebp, 4; jne write8; mov [rdx], eax; jmp next
write8:
    mov [rdx], rax; jmp next
do_read:
    mov r9, rax; call load; and rax, r9; call show; jmp next
load:
    xor eax, eax; cmp ebp, 1; jne read2; mov al, [rdx]; ret
read2:
    cmp ebp, 2; jne read4; mov ax, [rdx]; ret
read4:
    cmp ebp, 4; jne read8; mov eax, [rdx]; ret
read8:
    mov rax, [rdx]; ret

do_wait:
    mov r8, rax; mov r9, rax; shr r9, 32; mov r10d, 0x8000; mov r11d, ecx
polling:
    cmp r11d, 5; jne by_memory; call input; jmp polled
by_memory:
    call load
polled:
    and eax, r8d; cmp eax, r9d; je arrived
    mov ecx, 1000
pausing:
    dec ecx; jnz pausing
    dec r10d; jnz polling
    SAY(timeout); jmp next
arrived:
    SAY(ok); jmp next

do_delay:
    dec rax; jnz do_delay
    jmp next

do_halt:
    mov edi, SEEN; mov r12d, ebp; mov r13d, 1; sti; hlt; cli; jmp next

do_window:
    mov edi, SEEN; mov r12d, ebp; mov r13d, ebx; mov rcx, rax; xor r14d, r14d; sti
open:
    test r14d, r14d; jnz closed; dec rcx; jnz open
closed:
    cli; mov ebx, SEEN; mov ebp, 1; mov al, 0x69; out 0xe9, al
reporting:
    cmp ebx, edi; jae reported; mov al, 0x20; out 0xe9, al; movzx eax, byte ptr [rbx]; inc ebx; mov r15, rbx; call digits; mov rbx, r15; jmp reporting
reported:
    call newline; jmp next

show:
    call digits
newline:
    mov al, 0x0a; out 0xe9, al; ret
digits:
    mov r8d, ebp; add r8d, r8d; mov ecx, 16; sub ecx, r8d; shl ecx, 2; shl rax, cl
digit:
    rol rax, 4; mov rbx, rax; and eax, 15; add al, 0x30; cmp al, 0x3a; jb decimal; add al, 7
decimal:
    out 0xe9, al; mov rax, rbx; dec r8d; jnz digit
    ret
"""
# An interrupt: its number is on the stack. RDI is where it is noted, R12 what to do, R13 how many more may come, R14 that the window is closed.
_TAKEN = """
    push rax; push rdx; mov rax, [rsp + 16]; cmp eax, 32; jb trap
    mov [rdi], al; inc edi; dec r13d; jnz more
    mov r14d, 1; and qword ptr [rsp + 40], 0xfffffffffffffdff
more:
    test r12d, 8; jz no_key; in al, 0x60
no_key:
    mov al, 0x20; test r12d, 2; jz no_slave; out 0xa0, al
no_slave:
    test r12d, 1; jz no_master; out 0x20, al
no_master:
    test r12d, 4; jz no_local; mov edx, 0xfee000b0; mov dword ptr [rdx], 0
no_local:
    pop rdx; pop rax; add rsp, 8; iretq
trap:
    mov ah, al; SAY(trap); mov al, ah; add al, 0x40; out 0xe9, al; mov al, 0x0a; out 0xe9, al; mov dx, 0xf4; xor eax, eax; out dx, eax; hlt
"""


def _assemble(text: str, at: int, bits: int) -> bytes:
    """Code; SAY(word) prints a word and ends the line."""
    text = re.sub(r"SAY\((\w+)\)", lambda match: "; ".join(f"mov al, {ord(letter)}; out 0xe9, al" for letter in match[1] + "\n"), text)
    mode = {32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}[bits]
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, mode).asm(text, at)
    return bytes(code)


def image(records: bytes) -> bytes:
    """A firmware image that carries out `records`."""
    script = records + record(Op.END)
    script += bytes(-len(script) % ALIGN)
    rom = bytearray(b"\xF4" * ALIGN)

    def put(offset: int, data: bytes, limit: int) -> None:
        assert offset + len(data) <= limit
        rom[offset:offset + len(data)] = data

    put(GDT, struct.pack("<4Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF), GDTR)
    put(GDTR, struct.pack("<HI", 0x1F, CODE + GDT), IDTR)
    put(IDTR, struct.pack("<HQ", 0xFFF, IDT), STUBS)
    put(ALIGN - 16, b"\xE9" + struct.pack("<H", REAL - (ALIGN - 16 + 3) & 0xFFFF), ALIGN)                                 # jmp to the 16-bit part
    put(REAL, b"\xFA\x2E\x66\x0F\x01\x16" + struct.pack("<H", GDTR) + b"\x0F\x20\xC0\x66\x83\xC8\x01\x0F\x22\xC0"          # cli; lgdt cs:[]; cr0 |= 1
        + b"\x66\xEA" + struct.pack("<IH", CODE + PROTECTED, 0x08), PROTECTED)                                            # jmp far
    put(PROTECTED, _assemble(_TABLES, CODE + PROTECTED, 32) + b"\xEA" + struct.pack("<IH", CODE + LONG, 0x18), LONG)
    start = f"mov eax, {CODE + IDTR}; lidt [rax]; mov esp, {STACK}; mov esi, {TOP - ALIGN - len(script)};"
    put(LONG, _assemble(start + _MAIN.replace("SEEN", str(SEEN)), CODE + LONG, 64), TAKEN)
    put(TAKEN, _assemble(_TAKEN, CODE + TAKEN, 64), GDT)
    for vector in range(256):
        at = STUBS + STUB * vector
        put(at, b"\x68" + struct.pack("<I", vector) + b"\xE9" + struct.pack("<i", TAKEN - (at + 10)), ALIGN)               # push vector; jmp taken
    return bytes(script + rom)
