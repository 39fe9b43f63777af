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
    (Multiboot(by_addresses(), ((bytes(16 << 20), ""),)), "do not fit above the kernel"),
    (Multiboot(by_addresses(), (), "x" * (16 << 20)), "boot information: .* do not fit above the kernel"),
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
    with pytest.raises(LoadError, match="modules go with a multiboot kernel"):
        kernel_from_files(kernel, modules=[(module, "x")])


# Writes what EBX leads to out to COM1: flags, the symbols' number, size, address and names' index, then ends.
TELL = """
    mov edi, ebx; mov dx, 0x3f8
    mov eax, [edi]; call tell; mov ecx, 28
next: mov eax, [edi + ecx]; call tell; add ecx, 4; cmp ecx, 44; jb next
    mov eax, edi; call tell
    mov al, 0x55; out 0xf4, al; hlt
tell: mov ebp, 4
octet: out dx, al; shr eax, 8; dec ebp; jnz octet; ret
"""


def told(image: bytes, memory: int = 16 << 20) -> tuple[Machine, list[int]]:
    machine = Machine(Multiboot(image), Configuration(memory=memory, clock="instructions"))
    said = bytearray()
    machine.board.serial_out = said.extend
    assert machine.run(timeout=5).value == GOOD
    return machine, list(struct.unpack("<6I", said))


def teller(base: int, size: int = 0) -> bytes:
    """In the address-field form, at `base`, followed by zeros up to `size` bytes."""
    encoded, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32).asm("mov esp, 0x200000;" + TELL, base + CODE_AT)
    return header(1 << 16 | 3, base, base, 0, base + size, base + CODE_AT).ljust(CODE_AT, b"\0") + bytes(encoded)


@pytest.mark.parametrize(("base", "size", "where"), [
    (0x1000, 0, 0x2000), (0x4000, 0, 0x1000), (0x1000, 0x9E000, 0x100000), (0x1100, 0x9DEF0, 0x100000), (0x90000, 0, 0x1000), (0x1000, 0x80000, 0x81000),
])
def test_a_kernel_below_1_mib_gets_its_information_elsewhere(base: int, size: int, where: int) -> None:
    machine, (flags, *_, address) = told(teller(base, size))
    gdt = address & ~0xFFF
    assert flags & 0x245 == 0x245 and not flags & 1 << 5
    assert gdt == where
    assert gdt >= base + max(size, 0x40) or address + 4096 <= base
    machine.close()


def elf_with_symbols() -> bytes:
    """A kernel with a symbol table that it does not load: null, .symtab, .strtab, and a .text that it does."""
    encoded, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_32).asm("mov esp, 0x200000;" + TELL, BASE + CODE_AT)
    body = header(3).ljust(CODE_AT, b"\0") + bytes(encoded)
    strings, symbols = b"\0start\0", bytes(16) + struct.pack("<IIIBBH", 1, BASE + CODE_AT, 0, 0x10, 0, 3)
    at = 0x100 + len(body)
    sections = [(0,) * 10, (0, 2, 0, 0, at, len(symbols), 2, 1, 4, 16), (0, 3, 0, 0, at + len(symbols), len(strings), 0, 0, 1, 0),
                (0, 1, 6, BASE, 0x100, len(body), 0, 0, 16, 0)]
    table = at + len(symbols) + len(strings)
    start = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF" + bytes((1, 1, 1)), 2, 3, 1, BASE + CODE_AT, 52, table, 0, 52, 32, 1, 40, 4, 2)
    start += struct.pack("<8I", 1, 0x100, BASE, BASE, len(body), len(body), 7, 4096)
    return start.ljust(0x100, b"\0") + body + symbols + strings + b"".join(struct.pack("<10I", *section) for section in sections)


def test_an_elf_kernel_finds_its_symbols() -> None:
    machine, (flags, count, size, address, names, _) = told(elf_with_symbols())
    assert flags & 1 << 5 and (count, size, names) == (4, 40, 2)
    headers = [struct.unpack("<10I", machine.memory.read(address + 40 * index, 40)) for index in range(4)]
    assert headers[3][3] == BASE and headers[0] == (0,) * 10
    symbols, strings = (machine.memory.read(headers[index][3], headers[index][5]) for index in (1, 2))
    name, value, *_ = struct.unpack_from("<IIIBBH", symbols, 16)
    assert strings[name:].split(b"\0")[0] == b"start" and value == BASE + CODE_AT
    machine.close()


@pytest.mark.parametrize("damage", [lambda image: image[:-41], lambda image: image.replace(struct.pack("<HHH", 40, 4, 2), struct.pack("<HHH", 41, 4, 2), 1)])
def test_a_kernel_runs_without_symbols_that_are_damaged(damage: Callable[[bytes], bytes]) -> None:
    machine, (flags, *rest) = told(damage(elf_with_symbols()))
    assert not flags & 1 << 5 and rest[:4] == [0] * 4
    machine.close()
