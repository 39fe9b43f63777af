"""Multiboot 1 kernels: 32-bit ELF files, or images whose header says where they go.

Source: Multiboot Specification 0.6.96, 3.1 "OS image format", 3.2 "Machine state", 3.3 "Boot information format". The processor starts in
protected mode without paging, with flat segments, interrupts off, EAX the magic number and EBX the boot information, which goes wherever the kernel does not.

Not passed on: drives, APM, VBE, a boot device. Video modes are ignored, as the header only prefers one: the screen is in text mode.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from machine.errors import LoadError
from machine.loaders.entry import ProtectedMode
from machine.loaders.multiboot_information import Sections, information
from machine.memory import MIB, PAGE, E820Entry, GuestMemory

SEARCHED, MAGIC = 8192, 0x1BADB002                        # 3.1.1: the header lies within so many bytes
PAGE_ALIGN, MEMORY_INFO, VIDEO_MODE, ADDRESSES, MUST_UNDERSTAND = 1 << 0, 1 << 1, 1 << 2, 1 << 16, 0xFFFF
BOOTED_BY_MULTIBOOT = 0x2BADB002
HEADER, ADDRESS_FIELDS = struct.Struct("<III"), struct.Struct("<5I")

ELF_HEADER, PROGRAM_HEADER = struct.Struct("<16sHHIIIIIHHHHHH"), struct.Struct("<8I")
ELF, CLASS_32, LITTLE_ENDIAN, INTEL_386, PT_LOAD = b"\x7fELF", 1, 1, 3, 1

FREE_LOW = (0x1000, 0x9F000)                              # below: interrupt vectors, BIOS data; above: the extended BIOS data area
CODE, DATA = 0x08, 0x10
FLAT_GDT = struct.pack("<3Q", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)


@dataclass(frozen=True, slots=True)
class Segment:
    """`data` goes to `address`, followed by zeros up to `size` bytes."""

    address: int
    data: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """A multiboot kernel, checked. `sections` are those of its ELF file."""

    segments: tuple[Segment, ...]
    entry: int
    sections: Sections | None = None

    @classmethod
    def parse(cls, image: bytes) -> Kernel:
        """Check an image. Raises LoadError."""
        at = find_header(image)
        if at is None:
            raise LoadError("kernel: it has no multiboot header")
        flags = int.from_bytes(image[at + 4:at + 8], "little")
        unknown = flags & MUST_UNDERSTAND & ~(PAGE_ALIGN | MEMORY_INFO | VIDEO_MODE)
        if unknown:
            raise LoadError(f"kernel: its multiboot header demands what is not known here (flags {unknown:#x})")
        kernel = _by_addresses(image, at) if flags & ADDRESSES else _by_elf(image)
        if not any(segment.address <= kernel.entry < segment.address + segment.size for segment in kernel.segments):
            raise LoadError(f"kernel: its entry {kernel.entry:#x} is in nothing that it loads")
        return kernel

    @property
    def end(self) -> int:
        """The first address beyond all of it."""
        return max(segment.address + segment.size for segment in self.segments)


def find_header(image: bytes) -> int | None:
    """Offset of the multiboot header, None if there is none (3.1.1)."""
    for at in range(0, min(len(image), SEARCHED) - HEADER.size + 1, 4):
        magic, flags, checksum = HEADER.unpack_from(image, at)
        if magic == MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            return at
    return None


def _by_addresses(image: bytes, at: int) -> Kernel:
    """3.1.3: the header's own addresses."""
    if at + HEADER.size + ADDRESS_FIELDS.size > len(image):
        raise LoadError("kernel: the file ends within its multiboot header")
    header, load, load_end, bss_end, entry = ADDRESS_FIELDS.unpack_from(image, at + HEADER.size)
    start = at - (header - load)
    if header < load or start < 0:
        raise LoadError(f"kernel: its multiboot header says that the header is at {header:#x} and the load address {load:#x}, which the file does not allow")
    length = load_end - load if load_end else len(image) - start
    if length <= 0 or start + length > len(image):
        raise LoadError(f"kernel: the file is truncated: by its multiboot header it ends at {load_end:#x}, but what is there at {load + len(image) - start:#x}")
    return Kernel((Segment(load, image[start:start + length], max(length, bss_end - load)),), entry)


def _by_elf(image: bytes) -> Kernel:
    """Every loadable segment to its physical address."""
    if image[:4] != ELF or len(image) < ELF_HEADER.size:
        raise LoadError("kernel: its multiboot header gives no addresses, and it is no ELF file that would")
    if image[4] != CLASS_32:
        raise LoadError("kernel: multiboot 1 loads 32-bit ELF files, this is a 64-bit one")
    _, _, machine, _, entry, table, _, _, _, size, count, _, _, _ = ELF_HEADER.unpack_from(image)
    if image[5] != LITTLE_ENDIAN or machine != INTEL_386 or size != PROGRAM_HEADER.size:
        raise LoadError("kernel: this ELF file is for another processor")
    if table + count * size > len(image):
        raise LoadError("kernel: the file is truncated within its program headers")
    segments = []
    for index in range(count):
        kind, offset, _, address, in_file, in_memory, _, _ = PROGRAM_HEADER.unpack_from(image, table + index * size)
        if kind != PT_LOAD or not in_memory:
            continue
        if in_file > in_memory or offset + in_file > len(image):
            raise LoadError(f"kernel: the file is truncated: a segment ends at byte {offset + in_file}, the file has {len(image)}")
        segments.append(Segment(address, image[offset:offset + in_file], in_memory))
    if not segments:
        raise LoadError("kernel: this ELF file loads nothing")
    return Kernel(tuple(segments), entry, Sections.parse(image))


def load(memory: GuestMemory, image: bytes, modules: tuple[tuple[bytes, str], ...], cmdline: str, e820: list[E820Entry]) -> ProtectedMode:
    """Put a kernel and its modules into memory.

    Args:
        memory: the guest's.
        image: the kernel's file.
        modules: (bytes, text) of each; they follow the kernel, on pages of their own, and its symbols follow them.
        cmdline: passed on as it is.
        e820: the memory map.

    Raises:
        LoadError: it is no such kernel, or does not fit.
    """
    kernel = Kernel.parse(image)
    for segment in kernel.segments:
        if not memory.is_ram(segment.address, segment.size):
            raise LoadError(f"kernel: it loads {segment.size} bytes at {segment.address:#x}, which are not all RAM (--memory)")
    cursor = max(kernel.end, MIB)

    def beyond(data: bytes, what: str) -> int:
        """Onto pages of its own behind everything so far."""
        nonlocal cursor
        start = -(-cursor // PAGE) * PAGE
        cursor = start + len(data)
        if cursor > memory.low_size:
            raise LoadError(f"{what}: {len(data)} bytes do not fit above the kernel, into {memory.low_size // MIB} MiB (--memory)")
        pieces.append((start, data))
        return start

    pieces = [(segment.address, segment.data.ljust(segment.size, b"\0")) for segment in kernel.segments]
    places = [(start := beyond(data, "module"), start + len(data), text) for data, text in modules]
    sections = None
    if kernel.sections is not None:
        sections = kernel.sections.placed([beyond(content, "symbols") if content else 0 for content in kernel.sections.contents])
    described = information(0, places, sections, cmdline, memory.low_size, e820)
    at = _room(kernel, len(FLAT_GDT) + len(described))
    if at is None:
        at = beyond(bytes(len(FLAT_GDT) + len(described)), "boot information")
    pieces.append((at, FLAT_GDT + information(at + len(FLAT_GDT), places, sections, cmdline, memory.low_size, e820)))
    for start, data in pieces:
        memory.write(start, data)
    return ProtectedMode(kernel.entry, BOOTED_BY_MULTIBOOT, at + len(FLAT_GDT), at, len(FLAT_GDT) - 1, CODE, DATA)


def _room(kernel: Kernel, size: int) -> int | None:
    """The lowest free place below 640 KiB for so many bytes, on a page; None if there is none."""
    at = FREE_LOW[0]
    while at + size <= FREE_LOW[1]:
        taken = [segment.address + segment.size for segment in kernel.segments if segment.address < at + size and at < segment.address + segment.size]
        if not taken:
            return at
        at = -(-max(taken) // PAGE) * PAGE
    return None
