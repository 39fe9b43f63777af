"""Multiboot 1 kernels: 32-bit ELF files, or images whose header says where they go.

Source: Multiboot Specification 0.6.96, 3.1 "OS image format", 3.2 "Machine state", 3.3 "Boot information format". The processor starts in
protected mode without paging, with flat segments, interrupts off, EAX the magic number and EBX the boot information.

Not passed on: symbols, drives, APM, VBE, a boot device. Video modes are ignored, as the header only prefers one: the screen is in text mode.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from machine.errors import LoadError
from machine.loaders.entry import ProtectedMode
from machine.memory import KIB, MIB, PAGE, E820Entry, GuestMemory

SEARCHED, MAGIC = 8192, 0x1BADB002                        # 3.1.1: the header lies within so many bytes
PAGE_ALIGN, MEMORY_INFO, VIDEO_MODE, ADDRESSES, MUST_UNDERSTAND = 1 << 0, 1 << 1, 1 << 2, 1 << 16, 0xFFFF
BOOTED_BY_MULTIBOOT = 0x2BADB002
HEADER, ADDRESS_FIELDS = struct.Struct("<III"), struct.Struct("<5I")

ELF_HEADER, PROGRAM_HEADER = struct.Struct("<16sHHIIIIIHHHHHH"), struct.Struct("<8I")
ELF, CLASS_32, LITTLE_ENDIAN, INTEL_386, PT_LOAD = b"\x7fELF", 1, 1, 3, 1

HAS_MEMORY, HAS_COMMAND_LINE, HAS_MODULES, HAS_MAP, HAS_LOADER_NAME = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 9
INFORMATION_SIZE, MODULE, MAP_ENTRY = 120, struct.Struct("<4I"), struct.Struct("<IQQI")
LOADER_NAME = b"Folkering\0"
BELOW_1_MIB = 640                                         # KiB

GDT, INFORMATION, INFORMATION_END = 0x1000, 0x2000, 0x80000          # where they go unless the kernel is there
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
    """A multiboot kernel, checked."""

    segments: tuple[Segment, ...]
    entry: int

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

    def covers(self, start: int, end: int) -> bool:
        """Whether it loads anything into the range."""
        return any(segment.address < end and start < segment.address + segment.size for segment in self.segments)


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
    return Kernel(tuple(segments), entry)


def load(memory: GuestMemory, image: bytes, modules: tuple[tuple[bytes, str], ...], cmdline: str, e820: list[E820Entry]) -> ProtectedMode:
    """Put a kernel and its modules into memory.

    Args:
        memory: the guest's.
        image: the kernel's file.
        modules: (bytes, text) of each; they follow the kernel, on pages of their own.
        cmdline: passed on as it is.
        e820: the memory map.

    Raises:
        LoadError: it is no such kernel, or does not fit.
    """
    kernel = Kernel.parse(image)
    for segment in kernel.segments:
        if not memory.is_ram(segment.address, segment.size):
            raise LoadError(f"kernel: it loads {segment.size} bytes at {segment.address:#x}, which are not all RAM (--memory)")
    cursor, places = max(kernel.end, MIB), []
    for data, _ in modules:
        start = -(-cursor // PAGE) * PAGE
        cursor = start + len(data)
        if cursor > memory.low_size:
            raise LoadError(f"module: its {len(data)} bytes do not fit above the kernel, into {memory.low_size // MIB} MiB (--memory)")
        places.append((start, cursor))
    if kernel.covers(GDT, INFORMATION_END):
        raise LoadError(f"kernel: it loads below {INFORMATION_END:#x}, where the boot information goes")
    for segment in kernel.segments:
        memory.write(segment.address, segment.data.ljust(segment.size, b"\0"))
    for (start, _), (data, _) in zip(places, modules, strict=True):
        memory.write(start, data)
    information = _information(places, [text for _, text in modules], cmdline, memory.low_size, e820)
    if INFORMATION + len(information) > INFORMATION_END:
        raise LoadError("kernel: command line and module names are too long")
    memory.write(GDT, FLAT_GDT)
    memory.write(INFORMATION, information)
    return ProtectedMode(kernel.entry, BOOTED_BY_MULTIBOOT, INFORMATION, GDT, len(FLAT_GDT) - 1, CODE, DATA)


def _information(places: list[tuple[int, int]], texts: list[str], cmdline: str, low_size: int, e820: list[E820Entry]) -> bytes:
    """The boot information (3.3) for `INFORMATION`, followed by what it points to."""
    beyond = bytearray()

    def put(data: bytes) -> int:
        beyond.extend(bytes(-len(beyond) % 4))
        beyond.extend(data)
        return INFORMATION + INFORMATION_SIZE + len(beyond) - len(data)

    command_line = put(cmdline.encode() + b"\0")
    table = b"".join(MODULE.pack(start, end, put(text.encode() + b"\0"), 0) for (start, end), text in zip(places, texts, strict=True))
    modules = put(table)
    map_data = b"".join(MAP_ENTRY.pack(MAP_ENTRY.size - 4, entry.base, entry.length, entry.kind) for entry in e820)
    map_at, name = put(map_data), put(LOADER_NAME)
    flags = HAS_MEMORY | HAS_COMMAND_LINE | HAS_MODULES | HAS_MAP | HAS_LOADER_NAME
    head = struct.pack("<11I", flags, BELOW_1_MIB, (low_size - MIB) // KIB, 0, command_line, len(places), modules, 0, 0, 0, 0)
    head += struct.pack("<6I", len(map_data), map_at, 0, 0, 0, name)
    return head.ljust(INFORMATION_SIZE, b"\0") + bytes(beyond)
