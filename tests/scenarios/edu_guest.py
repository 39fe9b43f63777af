"""A multiboot kernel of our own that drives an EDU card as a driver would, and says on COM1 what it saw: the same on our PC and on QEMU.

It looks for the last 1234:11e8 on bus 0 by configuration mechanism 1, gives it a place, and uses everything: liveness, factorial, DMA both ways, INTA# through
LPC bridge and 8259A and through the I/O APIC, MSI through the local APIC, and what happens while it is no bus master.

Which input of the I/O APIC it is, boards differ in; so all eight have the same vector. The handler there acknowledges at the card from the second time on only.
"""

from __future__ import annotations

import re
import struct

import keystone

from machine.loaders.multiboot import HEADER, MAGIC

BASE = 0x100000
CODE, INTX, MESSAGE, LEVEL, TABLES, STRINGS, IDT, END = (BASE + at for at in (0x40, 0x1000, 0x1100, 0x1200, 0x1800, 0x2000, 0x3000, 0x4000))
PLACE = 0xE0000000                       # of the card
MEMORY = 0x200000                        # two pieces of 256 bytes
COUNTS = 0x210000                        # INTx taken, what they were; messages taken, what they were; INTx taken by way of the I/O APIC
INTX_VECTOR, MESSAGE_VECTOR, LEVEL_VECTOR = 0x2B, 0x40, 0x50      # IRQ 11 of a pair whose slave begins at 0x28
ENTRY = 0xA000 | LEVEL_VECTOR            # of the I/O APIC: level, active low
GATE = 0x8E00                            # a present 32-bit interrupt gate

# In EBX CONFIG_ADDRESS of the card. "text" is printed, {EAX} as eight digits, {AL} as two.
MAIN = f"""
    cli; mov esp, 0x90000; lgdt [{TABLES + 24}]; lidt [{TABLES + 32}]
    mov ax, 16; mov ds, ax; mov es, ax; mov ss, ax
    mov dx, 0x3fb; mov al, 3; out dx, al
    mov edi, {COUNTS}; xor eax, eax; mov ecx, 5; cld; rep stosd

    mov ecx, 0x80000000; xor ebx, ebx
look:
    mov eax, ecx; mov dx, 0xcf8; out dx, eax; mov dx, 0xcfc; in eax, dx
    cmp eax, 0x11e81234; jne other; mov ebx, ecx
other:
    add ecx, 0x800; cmp ecx, 0x80010000; jb look
    test ebx, ebx; jnz found; "no card~"; jmp over
found:
    "slot "; mov eax, ebx; shr eax, 11; {{AL}}; "~"

    "class "; mov eax, 8; call get_config; {{EAX}}; " status "; mov eax, 4; call get_config; shr eax, 16; {{EAX}}
    " pin "; mov eax, 0x3c; call get_config; shr eax, 8; {{AL}}; " line "; mov eax, 0x3c; call get_config; {{AL}}; "~"
    mov eax, 4; call get_config; test al, 2; jz unassigned
    mov eax, 0x10; call get_config; test eax, eax; jz unassigned
    mov esi, eax; cmp dword ptr [esi], 0x010000ed; jne unassigned; "assigned and answering~"
unassigned:
    mov eax, 4; mov ecx, 0; call put_config
    mov eax, 0x10; mov ecx, 0xffffffff; call put_config; "size "; mov eax, 0x10; call get_config; {{EAX}}; "~"
    mov eax, 0x10; mov ecx, {PLACE}; call put_config; mov eax, 4; mov ecx, 6; call put_config

    mov ebp, {PLACE}
    "identification "; mov eax, [ebp]; {{EAX}}; mov dword ptr [ebp + 4], 0x12345678; " liveness "; mov eax, [ebp + 4]; {{EAX}}; "~"
    mov dword ptr [ebp + 8], 10
computing:
    pause; test dword ptr [ebp + 0x20], 1; jnz computing
    "factorial "; mov eax, [ebp + 8]; {{EAX}}; mov dword ptr [ebp + 8], 40
zero:
    pause; test dword ptr [ebp + 0x20], 1; jnz zero
    " "; mov eax, [ebp + 8]; {{EAX}}; "~"

    mov al, 0x11; out 0x20, al; out 0xa0, al; mov al, 0x20; out 0x21, al; mov al, 0x28; out 0xa1, al
    mov al, 4; out 0x21, al; mov al, 2; out 0xa1, al; mov al, 1; out 0x21, al; out 0xa1, al
    mov al, 0xfb; out 0x21, al; mov al, 0xf7; out 0xa1, al; mov dx, 0x4d1; mov al, 8; out dx, al
    push ebx; mov ebx, 0x8000f800; mov ecx, 0x0b0b0b0b; mov eax, 0x60; call put_config; mov eax, 0x68; call put_config; pop ebx
    mov edi, 0xfee00000; mov dword ptr [edi + 0xf0], 0x1ff; mov dword ptr [edi + 0x80], 0; mov dword ptr [edi + 0x350], 0x700

    mov edi, {MEMORY}; mov ecx, 256; mov al, 7
fill:
    stosb; add al, 13; loop fill
    mov dword ptr [ebp + 0x80], {MEMORY}; mov dword ptr [ebp + 0x88], 0x40080; mov dword ptr [ebp + 0x90], 256; mov dword ptr [ebp + 0x98], 1
moving:
    mov ecx, 20000
pausing:
    loop pausing
    test dword ptr [ebp + 0x98], 1; jnz moving
    mov dword ptr [ebp + 0x80], 0x40080; mov dword ptr [ebp + 0x88], {MEMORY + 256}; mov dword ptr [ebp + 0x98], 7
    mov edi, {COUNTS}; mov eax, 1; call await
    mov esi, {MEMORY}; mov edi, {MEMORY + 256}; mov ecx, 64; repe cmpsd; jne differs; "there and back, the same~"
differs:
    "INTx "; mov eax, [{COUNTS}]; {{AL}}; " for "; mov eax, [{COUNTS + 4}]; {{EAX}}; "~"
    mov dword ptr [ebp + 0x60], 0x5a; "raised by hand, status "; mov eax, 4; call get_config; shr eax, 16; {{EAX}}
    mov edi, {COUNTS}; mov eax, 2; call await; " "; mov eax, [{COUNTS}]; {{AL}}; " for "; mov eax, [{COUNTS + 4}]; {{EAX}}; "~"
    mov eax, 4; mov ecx, 0x406; call put_config; mov dword ptr [ebp + 0x60], 0x3c; call linger
    "INTx disabled "; mov eax, [{COUNTS}]; {{AL}}; mov dword ptr [ebp + 0x64], 0x3c; mov eax, 4; mov ecx, 6; call put_config; "~"

    mov al, 0xff; out 0x21, al; out 0xa1, al; mov edi, 0xfec00000; mov ecx, 0x30
route:
    mov [edi], ecx; mov dword ptr [edi + 0x10], {ENTRY}; inc ecx; mov [edi], ecx; mov dword ptr [edi + 0x10], 0; inc ecx; cmp ecx, 0x40; jb route
    mov dword ptr [ebp + 0x60], 0x11; mov edi, {COUNTS + 16}; mov eax, 2; call await; call linger
    "by the IOAPIC "; mov eax, [{COUNTS + 16}]; {{AL}}; mov dword ptr [ebp + 0x60], 0x22; mov eax, 3; call await; call linger
    " "; mov eax, [{COUNTS + 16}]; {{AL}}; " pending "; mov eax, [ebp + 0x24]; {{EAX}}; "~"

    mov eax, 0x34; call get_config; movzx edi, al
capability:
    mov eax, edi; call get_config; cmp al, 5; je message
    movzx edi, ah; test edi, edi; jnz capability; "no MSI~"; jmp over
message:
    "MSI at "; push eax; mov eax, edi; {{AL}}; pop eax; " control "; shr eax, 16; {{EAX}}; "~"
    lea eax, [edi + 4]; mov ecx, 0xfee00000; call put_config; lea eax, [edi + 8]; mov ecx, 0; call put_config
    lea eax, [edi + 12]; mov ecx, {MESSAGE_VECTOR}; call put_config; mov eax, edi; call get_config; mov dx, 0xcfe; mov ax, 1; out dx, ax
    mov dword ptr [ebp + 0x20], 0x80; mov dword ptr [ebp + 8], 5
    mov edi, {COUNTS + 8}; mov eax, 1; call await
    "message "; mov eax, [{COUNTS + 8}]; {{AL}}; " for "; mov eax, [{COUNTS + 12}]; {{EAX}}; " factorial "; mov eax, [ebp + 8]; {{EAX}}; "~"

    mov eax, 4; mov ecx, 2; call put_config; mov dword ptr [ebp + 0x60], 0x77; call linger
    mov dword ptr [{MEMORY}], 0x11223344
    mov dword ptr [ebp + 0x80], 0x40080; mov dword ptr [ebp + 0x88], {MEMORY}; mov dword ptr [ebp + 0x98], 3
refused:
    mov ecx, 20000
waiting:
    loop waiting
    test dword ptr [ebp + 0x98], 1; jnz refused
    "no bus master: messages "; mov eax, [{COUNTS + 8}]; {{AL}}; " memory "; mov eax, [{MEMORY}]; {{EAX}}
    mov dword ptr [ebp + 0x64], 0x77; mov eax, 4; mov ecx, 6; call put_config; mov dword ptr [ebp + 0x60], 0x99
    mov edi, {COUNTS + 8}; mov eax, 2; call await; " and again: messages "; mov eax, [{COUNTS + 8}]; {{AL}}; " for "; mov eax, [{COUNTS + 12}]; {{EAX}}
    " INTx "; mov eax, [{COUNTS}]; {{AL}}; "~"
over:
    "done~"
    cli; hlt

get_config:
    or eax, ebx; mov dx, 0xcf8; out dx, eax; mov dx, 0xcfc; in eax, dx; ret
put_config:
    or eax, ebx; mov dx, 0xcf8; out dx, eax; mov dx, 0xcfc; mov eax, ecx; out dx, eax; ret
await:
    cli; cmp [edi], eax; jae came; sti; hlt; jmp await
came:
    ret
linger:
    sti; mov ecx, 100000
lingering:
    loop lingering
    cli; ret
puts:
    lodsb; test al, al; jz printed; call putc; jmp puts
printed:
    ret
putc:
    push eax; mov dx, 0x3fd
full:
    in al, dx; test al, 0x20; jz full
    pop eax; mov dx, 0x3f8; out dx, al; ret
show_byte:
    shl eax, 24; mov ecx, 2; jmp digits
show_word:
    mov ecx, 8
digits:
    rol eax, 4; push eax; and eax, 15; add al, 0x30; cmp al, 0x3a; jb digit; add al, 7
digit:
    call putc; pop eax; loop digits
    ret
"""
HANDLERS = {
    INTX: f"push eax; mov eax, [{PLACE + 0x24}]; mov [{COUNTS + 4}], eax; mov [{PLACE + 0x64}], eax; inc dword ptr [{COUNTS}];"
          "mov al, 0x20; out 0xa0, al; out 0x20, al; pop eax; iretd",
    MESSAGE: f"push eax; mov eax, [{PLACE + 0x24}]; mov [{COUNTS + 12}], eax; mov [{PLACE + 0x64}], eax; inc dword ptr [{COUNTS + 8}];"
             "mov eax, 0xfee000b0; mov dword ptr [eax], 0; pop eax; iretd",
    LEVEL: f"push eax; inc dword ptr [{COUNTS + 16}]; cmp dword ptr [{COUNTS + 16}], 2; jb not_yet; mov eax, [{PLACE + 0x24}]; mov [{PLACE + 0x64}], eax;"
           "not_yet: mov eax, 0xfee000b0; mov dword ptr [eax], 0; pop eax; iretd"}


def assemble(text: str, at: int) -> bytes:
    """32-bit code."""
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32).asm(text, at)
    return bytes(code)


def kernel() -> bytes:
    """The image, by the address fields of its multiboot header."""
    strings = bytearray()

    def literal(match: re.Match[str]) -> str:
        address = STRINGS + len(strings)
        strings.extend(match[1].replace("~", "\r\n").encode() + b"\0")
        return f"mov esi, {address}; call puts"

    text = re.sub(r'"([^"]*)"', literal, MAIN).replace("{EAX}", "call show_word").replace("{AL}", "call show_byte")
    image = bytearray(END - BASE)

    def put(at: int, data: bytes, limit: int) -> None:
        assert at + len(data) <= limit
        image[at - BASE:at - BASE + len(data)] = data

    flags = 1 << 16 | 3
    put(BASE, HEADER.pack(MAGIC, flags, -(MAGIC + flags) & 0xFFFFFFFF) + struct.pack("<5I", BASE, BASE, END, END, CODE), CODE)
    put(CODE, assemble(text, CODE), INTX)
    for at, handler in HANDLERS.items():
        put(at, assemble(handler, at), at + 0x100)
    put(TABLES, struct.pack("<3Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF) + struct.pack("<HIxx", 23, TABLES) + struct.pack("<HI", 0x7FF, IDT), STRINGS)
    put(STRINGS, bytes(strings), IDT)
    for vector, handler_at in ((INTX_VECTOR, INTX), (MESSAGE_VECTOR, MESSAGE), (LEVEL_VECTOR, LEVEL)):
        put(IDT + 8 * vector, struct.pack("<HHHH", handler_at & 0xFFFF, 8, GATE, handler_at >> 16), END)
    return bytes(image)
