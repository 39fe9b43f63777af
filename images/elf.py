"""Writes static ELF64 executables (System V ABI, "ELF-64 Object File Format", version 1.5 draft 2; AMD64 supplement 1.0).

One PT_LOAD a section, so that rights follow sections: text R+X, rodata R, data and bss R+W, nothing writable and executable at once. The symbol
table names every label for debuggers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from images.assembler import Assembly, Section

ELFCLASS64, ELFDATA2LSB, EV_CURRENT = 2, 1, 1
ET_EXEC, EM_X86_64 = 2, 62
PT_LOAD = 1
PF_X, PF_W, PF_R = 1, 2, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS = 1, 2, 3, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STB_LOCAL, STB_GLOBAL = 0, 1
STT_NOTYPE, STT_OBJECT, STT_FUNC = 0, 1, 2
SHN_ABS = 0xFFF1
PAGE = 4096

EHDR = struct.Struct("<4sBBBBQHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")
SYM = struct.Struct("<IBBHQQ")

SECTIONS = ("text", "rodata", "data", "bss")
_RIGHTS = {"text": (PF_R | PF_X, SHF_ALLOC | SHF_EXECINSTR), "rodata": (PF_R, SHF_ALLOC), "data": (PF_R | PF_W, SHF_ALLOC | SHF_WRITE),
           "bss": (PF_R | PF_W, SHF_ALLOC | SHF_WRITE)}


@dataclass(slots=True)
class _Strings:
    """A string table."""

    data: bytearray

    def add(self, text: str) -> int:
        offset = len(self.data)
        self.data += text.encode() + b"\0"
        return offset


def executable(assembly: Assembly, entry: str) -> bytes:
    """The file of an assembly whose sections are SECTIONS, at page boundaries; it starts at the label `entry`."""
    loaded = [section for section in assembly.sections if section.data]
    names = _Strings(bytearray(b"\0"))
    body = bytearray(PAGE)                                # headers have the first page of the file
    programs, headers = [], [SHDR.pack(*[0] * 10)]
    for section in loaded:
        segment, flags = _RIGHTS[section.name]
        bits = b"" if section.name == "bss" else section.data
        offset = len(body)
        programs.append(PHDR.pack(PT_LOAD, segment, offset, section.address, section.address, len(bits), len(section.data), PAGE))
        kind = SHT_NOBITS if section.name == "bss" else SHT_PROGBITS
        headers.append(SHDR.pack(names.add(f".{section.name}"), kind, flags, section.address, offset, len(section.data), 0, 0, PAGE, 0))
        body += bits
        body += bytes(-len(body) % PAGE)
    symbols, strings = _symbols(assembly, loaded)
    index = len(headers)
    headers.append(SHDR.pack(names.add(".symtab"), SHT_SYMTAB, 0, 0, len(body), len(symbols), index + 1, 1, 8, SYM.size))
    body += symbols
    headers.append(SHDR.pack(names.add(".strtab"), SHT_STRTAB, 0, 0, len(body), len(strings), 0, 0, 1, 0))
    body += strings
    own = names.add(".shstrtab")
    headers.append(SHDR.pack(own, SHT_STRTAB, 0, 0, len(body), len(names.data), 0, 0, 1, 0))
    body += names.data
    body += bytes(-len(body) % 8)
    body[:EHDR.size] = EHDR.pack(b"\x7fELF", ELFCLASS64, ELFDATA2LSB, EV_CURRENT, 0, 0, ET_EXEC, EM_X86_64, EV_CURRENT, assembly.symbols[entry],
                                 EHDR.size, len(body), 0, EHDR.size, PHDR.size, len(programs), SHDR.size, len(headers), len(headers) - 1)
    table = b"".join(programs)
    body[EHDR.size:EHDR.size + len(table)] = table
    return bytes(body) + b"".join(headers)


def _symbols(assembly: Assembly, loaded: list[Section]) -> tuple[bytes, bytes]:
    """Symbol table and its strings: labels without a dot, each as large as the way to the next one. All are global."""
    strings = _Strings(bytearray(b"\0"))
    table = [SYM.pack(0, 0, 0, 0, 0, 0)]
    named = sorted((address, name) for name, address in assembly.symbols.items() if "." not in name)
    for at, (address, name) in enumerate(named):
        index, section = next(((number, one) for number, one in enumerate(loaded, 1) if one.address <= address < one.end), (SHN_ABS, None))
        kind = STT_NOTYPE if section is None else STT_FUNC if section.name == "text" else STT_OBJECT
        following = next((other for other, _name in named[at + 1:] if other > address), None)
        size = 0 if section is None else min(following if following is not None else section.end, section.end) - address
        table.append(SYM.pack(strings.add(name), STB_GLOBAL << 4 | kind, 0, index, address, size))
    return b"".join(table), bytes(strings.data)
