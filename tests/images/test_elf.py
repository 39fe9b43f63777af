"""The ELF files, read back by an independent reader."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from images import builder
from images.assembler import assemble
from images.elf import SECTIONS, executable
from images.preprocessor import preprocess

PF_X, PF_W, PF_R = 1, 2, 4


def opened(image: bytes) -> ELFFile:
    return ELFFile(io.BytesIO(image))


@pytest.fixture(scope="module")
def nucleus() -> ELFFile:
    return opened(builder.nucleus())


def test_the_nucleus_is_linked_where_the_protocol_wants_it(nucleus: ELFFile) -> None:
    assert (nucleus.header.e_type, nucleus.header.e_machine, nucleus.elfclass, nucleus.little_endian) == ("ET_EXEC", "EM_X86_64", 64, True)
    assert nucleus.header.e_entry == builder.NUCLEUS_BASE


def test_segments_are_text_rodata_data_and_none_is_writable_code(nucleus: ELFFile) -> None:
    segments = [segment.header for segment in nucleus.iter_segments()]
    assert {segment.p_type for segment in segments} == {"PT_LOAD"}
    assert [segment.p_flags for segment in segments] == [PF_R | PF_X, PF_R, PF_R | PF_W, PF_R | PF_W]
    addresses = [segment.p_vaddr for segment in segments]
    assert addresses == sorted(addresses)
    assert all(segment.p_vaddr % 4096 == segment.p_offset % 4096 == 0 for segment in segments)
    for low, high in itertools.pairwise(segments):
        assert low.p_vaddr + low.p_memsz <= high.p_vaddr, "no page has two rights"
    assert segments[-1].p_filesz == 0 < segments[-1].p_memsz, "bss takes no room in the file"


def test_symbols_name_the_addresses_of_code_and_data(nucleus: ELFFile) -> None:
    table = nucleus.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    found = {symbol.name: symbol for symbol in table.iter_symbols() if symbol.name}
    assert {"nucleus_entry", "trap_common", "syscall_entry", "gate_call", "idle", "idt", "boot_record"} <= found.keys()
    assert not any("." in name for name in found), "local labels are nobody's business"
    entry, record = found["nucleus_entry"], found["boot_record"]
    assert (entry.entry.st_value, entry.entry.st_info.type) == (builder.NUCLEUS_BASE, "STT_FUNC")
    assert (record.entry.st_info.type, nucleus.get_section(record.entry.st_shndx).name) == ("STT_OBJECT", ".bss")
    for symbol in found.values():
        section = nucleus.get_section(symbol.entry.st_shndx)
        assert section.header.sh_addr <= symbol.entry.st_value
        assert symbol.entry.st_value + symbol.entry.st_size <= section.header.sh_addr + section.header.sh_size, symbol.name


def test_sections_lie_in_their_segments(nucleus: ELFFile) -> None:
    loads = list(nucleus.iter_segments())
    for name in (".text", ".rodata", ".data", ".bss"):
        section = nucleus.get_section_by_name(name)
        assert section is not None
        assert any(load.section_in_segment(section) for load in loads), name


@pytest.mark.parametrize("path", sorted((builder.HERE / "programs").glob("*.asm")), ids=lambda path: path.stem)
def test_programs_are_small_static_and_low(path: Path) -> None:
    image = builder.program(path)
    file = opened(image)
    assert file.header.e_type == "ET_EXEC"
    assert file.header.e_entry >= builder.PROGRAM_BASE
    assert all(segment.header.p_flags & (PF_W | PF_X) != PF_W | PF_X for segment in file.iter_segments())
    assert len(image) < 32 << 10


def test_empty_sections_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "main.asm").write_text("start:\nret\n")
    file = opened(executable(assemble(preprocess(tmp_path / "main.asm"), 0x400000, SECTIONS, 4096), "start"))
    assert file.num_segments() == 1
    assert file.get_section_by_name(".data") is None
