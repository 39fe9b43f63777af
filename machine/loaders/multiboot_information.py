"""The boot information that a multiboot 1 kernel is given: Multiboot Specification 0.6.96, 3.3 "Boot information format".

It is one piece of memory: the structure, then what it points to. A kernel that is an ELF file also gets its section headers, with the sections that it does
not load itself (symbols, strings, debugging information) put into memory for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from machine.memory import KIB, MIB, E820Entry

HAS_MEMORY, HAS_COMMAND_LINE, HAS_MODULES, HAS_ELF, HAS_MAP, HAS_LOADER_NAME = 1 << 0, 1 << 2, 1 << 3, 1 << 5, 1 << 6, 1 << 9
INFORMATION_SIZE, MODULE, MAP_ENTRY = 120, struct.Struct("<4I"), struct.Struct("<IQQI")
LOADER_NAME = b"Folkering\0"
BELOW_1_MIB = 640                                         # KiB

SECTION_TABLE, SECTION_SHAPE = struct.Struct("<32xI10x3H"), struct.Struct("<10I")       # e_shoff, e_shentsize, e_shnum, e_shstrndx; Elf32_Shdr
SHT_NULL, SHT_NOBITS = 0, 8


@dataclass(frozen=True, slots=True)
class Sections:
    """The section headers of a kernel's ELF file (System V ABI, "Sections").

    Attributes:
        headers: each as its ten words: name, type, flags, address, offset, size, link, info, alignment, entry size.
        names: index of the section that holds the names.
        contents: of each that has no address yet; empty for the others.
    """

    headers: tuple[tuple[int, ...], ...]
    names: int
    contents: tuple[bytes, ...]

    @classmethod
    def parse(cls, image: bytes) -> Sections | None:
        """None where the file has none, or what it has is damaged: a kernel runs without."""
        table, size, count, names = SECTION_TABLE.unpack_from(image)
        if not table or not count or size != SECTION_SHAPE.size or table + count * size > len(image):
            return None
        headers = tuple(SECTION_SHAPE.unpack_from(image, table + index * size) for index in range(count))
        contents = []
        for _, kind, _, address, offset, length, *_ in headers:
            wanted = not address and kind not in (SHT_NULL, SHT_NOBITS)
            if wanted and offset + length > len(image):
                return None
            contents.append(image[offset:offset + length] if wanted else b"")
        return cls(headers, names, tuple(contents))

    def placed(self, addresses: list[int]) -> Sections:
        """With the addresses at which the contents are; 0 for sections without."""
        headers = tuple((*header[:3], address or header[3], *header[4:]) for header, address in zip(self.headers, addresses, strict=True))
        return replace(self, headers=headers)


def information(at: int, modules: list[tuple[int, int, str]], sections: Sections | None, cmdline: str, low_size: int, e820: list[E820Entry]) -> bytes:
    """The boot information, for address `at`; its length does not depend on that.

    Args:
        at: where it will be.
        modules: (start, end, text) of each.
        sections: the kernel's, with addresses.
        cmdline: passed on as it is.
        low_size: bytes of RAM from 0, the hole below 1 MiB included.
        e820: the memory map.
    """
    beyond = bytearray()

    def put(data: bytes) -> int:
        beyond.extend(bytes(-len(beyond) % 4))
        beyond.extend(data)
        return at + INFORMATION_SIZE + len(beyond) - len(data)

    command_line = put(cmdline.encode() + b"\0")
    module_table = put(b"".join(MODULE.pack(start, end, put(text.encode() + b"\0"), 0) for start, end, text in modules))
    symbols = (0, 0, 0, 0)
    if sections is not None:
        symbols = len(sections.headers), SECTION_SHAPE.size, put(b"".join(SECTION_SHAPE.pack(*header) for header in sections.headers)), sections.names
    memory_map = b"".join(MAP_ENTRY.pack(MAP_ENTRY.size - 4, entry.base, entry.length, entry.kind) for entry in e820)
    map_at, name = put(memory_map), put(LOADER_NAME)
    flags = HAS_MEMORY | HAS_COMMAND_LINE | HAS_MODULES | HAS_MAP | HAS_LOADER_NAME | (HAS_ELF if sections is not None else 0)
    head = struct.pack("<11I", flags, BELOW_1_MIB, (low_size - MIB) // KIB, 0, command_line, len(modules), module_table, *symbols)
    head += struct.pack("<6I", len(memory_map), map_at, 0, 0, 0, name)
    return head.ljust(INFORMATION_SIZE, b"\0") + bytes(beyond)
