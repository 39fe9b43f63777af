"""Sections at their addresses, symbols, and the line that keystone refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.assembler import Assembly, assemble
from images.errors import ImageError
from images.preprocessor import preprocess

BASE = 0xFFFFFFFF80000000
ORDER = ("text", "rodata", "data")


def assembled(folder: Path, text: str) -> Assembly:
    (folder / "main.asm").write_text(text)
    return assemble(preprocess(folder / "main.asm"), BASE, ORDER, 4096)


def mistake(folder: Path, text: str) -> str:
    with pytest.raises(ImageError) as caught:
        assembled(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def test_sections_start_at_multiples_of_the_alignment(tmp_path: Path) -> None:
    made = assembled(tmp_path, "start:\nret\n.section data\nvalue:\n.quad start, value\n.section rodata\ntext:\n.asciz \"x\"\n")
    assert [(section.name, section.address, len(section.data)) for section in made.sections] == [
        ("text", BASE, 1), ("rodata", BASE + 0x1000, 2), ("data", BASE + 0x2000, 16)]
    assert made.symbols == {"start": BASE, "text": BASE + 0x1000, "value": BASE + 0x2000}
    assert made.section("data").data == BASE.to_bytes(8, "little") + (BASE + 0x2000).to_bytes(8, "little")


def test_code_refers_to_other_sections(tmp_path: Path) -> None:
    made = assembled(tmp_path, "lea rax, [rip + value]\nlea rbx, [rip + data_end]\n.section data\nvalue:\n.byte 1, 2, 3\n")
    assert made.section("text").data == bytes.fromhex("488d05f90f0000 488d1df50f0000"), "value is 0x1000 away, the section's end 3 bytes more"


def test_an_empty_section_has_no_bytes(tmp_path: Path) -> None:
    assert assembled(tmp_path, "nop\n").section("data").data == b""


@pytest.mark.parametrize(("text", "message"), [
    ("nop\nbogus eax\nnop\n", "main.asm:2: keystone refuses `bogus eax`: invalid mnemonic"),
    ("nop\nnop\nmov eax\n", "main.asm:3: keystone refuses `mov eax`: invalid operand"),
    ("here:\njmp here\njmp there\nnop\n", "main.asm:3: there is no label there"),
    ("lea rax, [rip + nowhere]\n", "main.asm:1: there is no label nowhere"),
    (".quad nowhere\n", "main.asm:1: there is no label nowhere"),
    (".macro M\npop eax, eax\n.endmacro\nnop\nM\n", "main.asm:2: keystone refuses `pop eax, eax`: invalid operand (pasted by M at main.asm:5)"),
    (".section other\nnop\n", "main.asm:2: there is no section 'other' here, only text, rodata, data"),
])
def test_the_line_that_is_refused_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert mistake(tmp_path, text) == message


def test_gs_fields_are_absolute_wherever_the_code_lies(tmp_path: Path) -> None:
    """Keystone alone would encode them relative to RIP."""
    made = assembled(tmp_path, ".const FIELD = 0x28\nmov gs:[FIELD], rbx\n")
    assert made.section("text").data == bytes.fromhex("6548891c2528000000")


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    """Keystone 0.9.2 takes decimal numbers for hexadecimal ones once it has seen an error."""
    text = "mov eax, 1000\n.balign 64\nret\n.section data\n.zero 100\n"
    before = assembled(tmp_path, text)
    for _attempt in range(3):
        mistake(tmp_path, "nonsense\n")
        mistake(tmp_path, "jmp nowhere\n")
        assert assembled(tmp_path, text) == before
    assert [len(section.data) for section in before.sections] == [65, 0, 100]
