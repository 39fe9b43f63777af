"""Multiboot 1: what loads, what is refused in one line, and a kernel that looks at everything it was given."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import keystone
import pytest

from machine import Configuration, ExitReason, LoadError, Machine, Multiboot
from machine.boot import kernel_from_files
from machine.loaders.multiboot import HEADER, MAGIC, Kernel

BASE = 0x100000
GOOD, BAD = 0x55, 0xAA
CODE_AT = 0x40

# EAX, EBX, the segments and CR0, then what the boot information says; the command line goes out to COM1. Ends at port 0xF4.
PROBE = """
    cmp eax, 0x2badb002; jne bad
    mov esi, ebx
    mov eax, cr0; and eax, 0x80000001; cmp eax, 1; jne bad
    mov ax, cs; cmp ax, 8; jne bad
    mov ax, ds; cmp ax, 16; jne bad
    mov ax, ss; cmp ax, 16; jne bad
    mov esp, 0x90000; pushfd; pop eax; test eax, 0x200; jnz bad
    mov eax, [esi]; and eax, 0x24d; cmp eax, 0x24d; jne bad
    cmp dword ptr [esi + 4], 640; jne bad
    cmp dword ptr [esi + 8], 15360; jne bad
    cmp dword ptr [esi + 20], 2; jne bad
    mov edi, [esi + 24]
    mov eax, [edi]; test eax, 0xfff; jnz bad
    cmp dword ptr [eax], 0x6d726966; jne bad
    mov ecx, [edi + 4]; sub ecx, eax; cmp ecx, 5000; jne bad
    mov eax, [edi + 16]; test eax, 0xfff; jnz bad
    cmp dword ptr [eax], 0x6f636573; jne bad
    mov eax, [edi + 24]; cmp byte ptr [eax], 0x62; jne bad
    mov ecx, [esi + 44]; mov edi, [esi + 48]; mov ebp, ecx; add ebp, edi
next:
    cmp dword ptr [edi + 20], 1; jne skip
    cmp dword ptr [edi + 4], 0x100000; jne skip
    cmp dword ptr [edi + 12], 0xf00000; je mapped
skip:
    mov eax, [edi]; lea edi, [edi + eax + 4]; cmp edi, ebp; jb next
    jmp bad
mapped:
    mov edi, {bss}
    cmp dword ptr [edi], 0; jne bad
    mov esi, [esi + 16]; mov dx, 0x3f8
letter:
    lodsb; test al, al; jz good; out dx, al; jmp letter
good:
    mov al, 0x55; out 0xf4, al; hlt
bad:
    mov al, 0xaa; out 0xf4, al; hlt
"""


def code(bss: int) -> bytes:
    encoded, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32).asm(PROBE.format(bss=bss), BASE + CODE_AT)
    return bytes(encoded)


def header(flags: int, *fields: int) -> bytes:
    return HEADER.pack(MAGIC, flags, -(MAGIC + flags) & 0xFFFFFFFF) + struct.pack(f"<{len(fields)}I", *fields)


def by_addresses(junk: int = 0) -> bytes:
    """The address-field form; `junk` bytes of something else in front, which are not loaded."""
    body = code(BASE + 0x2000)
    end = BASE + CODE_AT + len(body)
    return bytes(junk) + header(1 << 16 | 3, BASE, BASE, end, BASE + 0x3000, BASE + CODE_AT).ljust(CODE_AT, b"\0") + body


def elf(bits: int = 1, machine: int = 3, in_file: int | None = None, flags: int = 3) -> bytes:
    body = header(flags).ljust(CODE_AT, b"\0") + code(BASE + 0x2000)
    size = len(body) if in_file is None else in_file
    start = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF" + bytes((bits, 1, 1)), 2, machine, 1, BASE + CODE_AT, 52, 0, 0, 52, 32, 2, 0, 0, 0)
    table = struct.pack("<8I", 1, 0x100, 0xC0100000, BASE, size, max(size, 0x3000), 7, 4096) + struct.pack("<8I", 4, 0, 0, 0, 0, 0, 0, 0)
    return (start + table).ljust(0x100, b"\0") + body


@pytest.mark.parametrize("image", [elf, by_addresses, lambda: by_addresses(junk=0x800)], ids=["elf", "addresses", "addresses-inside"])
def test_a_kernel_finds_what_the_specification_promises(image: Callable[[], bytes]) -> None:
    modules = ((b"firm" + bytes(4996), "a first"), (b"seco", "b second"))
    boot = Multiboot(image(), modules, "root=/dev/x  quiet")
    machine = Machine(boot, Configuration(memory=16 << 20, clock="instructions"))
    said = bytearray()
    machine.board.serial_out = said.extend
    machine.memory.write(BASE + 0x2000, b"\xff" * 16)
    boot.prepare(machine.board)                                             # as after a reset: what must be zero is made so
    try:
        outcome = machine.run(timeout=5)
        assert (outcome.reason, outcome.value) == (ExitReason.DEBUG_EXIT, GOOD) and said == b"root=/dev/x  quiet"
    finally:
        machine.close()


@pytest.mark.parametrize(("image", "says"), [
    (b"nothing of the sort", "no multiboot header"),
    (header(1 << 5 | 3) + bytes(64), "flags 0x20"),
    (header(3) + bytes(64), "no ELF file"),
    (elf(bits=2), "64-bit"),
    (elf(machine=8), "another processor"),
    (elf(in_file=1 << 20), "truncated"),
    (elf()[:0x120], "truncated"),
    (header(1 << 16 | 3), "ends within its multiboot header"),
    (header(1 << 16, BASE, BASE, BASE + 0x100000, 0, BASE) + bytes(64), "truncated"),
    (header(1 << 16, BASE, BASE + 8, 0, 0, BASE + 8) + bytes(64), "does not allow"),
    (header(1 << 16, BASE, BASE, 0, 0, 0x50) + bytes(64), "entry 0x50"),
])
def test_a_wrong_file_gets_one_line(image: bytes, says: str) -> None:
    with pytest.raises(LoadError, match=says) as caught:
        Kernel.parse(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("boot", "says"), [
    (Multiboot(header(1 << 16, 64 << 20, 64 << 20, 0, 0, 64 << 20) + bytes(64)), "not all RAM"),
    (Multiboot(header(1 << 16, 0x4000, 0x4000, 0, 0, 0x4000) + bytes(64)), "where the boot information goes"),
    (Multiboot(by_addresses(), ((bytes(16 << 20), ""),)), "do not fit above the kernel"),
    (Multiboot(by_addresses(), (), "x" * 600_000), "too long"),
])
def test_what_does_not_fit_gets_one_line(boot: Multiboot, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        Machine(boot, Configuration(memory=16 << 20))


def test_the_kind_of_a_kernel_is_seen_in_its_file(tmp_path: Path) -> None:
    kernel, module = tmp_path / "kernel", tmp_path / "module"
    kernel.write_bytes(elf())
    module.write_bytes(b"data")
    boot = kernel_from_files(kernel, module, "text")
    assert isinstance(boot, Multiboot) and boot.modules == ((b"data", "module"),) and boot.append == "text"
    kernel.write_bytes(b"neither")
    with pytest.raises(LoadError, match="no Linux bzImage, and it has no multiboot header"):
        kernel_from_files(kernel)
