"""Sources to lines: every directive, and every mistake with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import ImageError
from images.preprocessor import Unit, evaluate, preprocess, split_arguments, strip_comment


def unit(folder: Path, text: str, **files: str) -> Unit:
    for name, content in files.items():
        (folder / f"{name}.asm").write_text(content)
    (folder / "main.asm").write_text(text)
    return preprocess(folder / "main.asm", {"GIVEN": 7})


def lines(folder: Path, text: str, section: str = "text", **files: str) -> list[str]:
    return [line.text for line in unit(folder, text, **files).sections[section]]


def mistake(folder: Path, text: str, **files: str) -> str:
    with pytest.raises(ImageError) as caught:
        unit(folder, text, **files)
    return str(caught.value).replace(f"{folder}/", "")


# --- what comes out ----------------------------------------------------------------------------------------------------------------------------
def test_comments_and_blanks_vanish_but_not_inside_strings(tmp_path: Path) -> None:
    assert lines(tmp_path, '; all\n  mov   eax, 1 ; why\n\n .asciz "a;  b" ; c\n') == ["mov eax, 1", '.asciz "a;  b"']


def test_constants_are_replaced_outside_strings(tmp_path: Path) -> None:
    assert lines(tmp_path, '.const SIZE = 4 * GIVEN\nmov eax, SIZE\n.ascii "SIZE"\nadd eax, [rbx + SIZE]\n') == [
        "mov eax, 0x1c", '.ascii "SIZE"', "add eax, [rbx + 0x1c]"]


def test_operands_of_numbers_are_worked_out(tmp_path: Path) -> None:
    assert lines(tmp_path, ".const BIT = 1 << 20\nor eax, BIT | 1\nmov rcx, -BIT\n.long BIT - 1, 2\nadd eax, [rbx - BIT + 8]\nmov eax, 15 << 20\n") == [
        "or eax, 0x100001", "mov rcx, -0x100000", ".long 0xfffff, 2", "add eax, [rbx - 0x100000 + 8]", "mov eax, 0xf00000"]


def test_structures_give_offsets_and_a_size(tmp_path: Path) -> None:
    made = unit(tmp_path, ".struct Entry\n.field base, 8\n.field kind, 4\n.endstruct\n.struct Tail = Entry.size\n.field last, 2\n.endstruct\n"
                          "mov eax, [rdi + Entry.kind]\nimul ecx, ecx, Entry.size\n")
    assert [line.text for line in made.sections["text"]] == ["mov eax, [rdi + 0x8]", "imul ecx, ecx, 0xc"]
    assert (made.constants["Tail.last"], made.constants["Tail.size"]) == (12, 14)


def test_local_labels_belong_to_the_label_before_them(tmp_path: Path) -> None:
    made = unit(tmp_path, "first:\n.again:\njmp .again\nsecond: .again: jnz .again\njmp first.again\n")
    assert [line.text for line in made.sections["text"]] == [
        "first:", "first.again:", "jmp first.again", "second:", "second.again:", "jnz second.again", "jmp first.again"]
    assert list(made.labels) == ["first", "first.again", "second", "second.again"]


def test_sections_collect_lines_across_files(tmp_path: Path) -> None:
    made = unit(tmp_path, '.section data\n.byte 1\n.include "part.asm"\n.byte 3\n', part=".section text\nnop\n.section data\n.byte 2\n.section text\n")
    assert {name: [line.text for line in content] for name, content in made.sections.items()} == {
        "data": [".byte 1", ".byte 2", ".byte 3"], "text": ["nop"]}, "the includer's section is restored"


def test_a_file_is_included_once(tmp_path: Path) -> None:
    assert lines(tmp_path, '.include "part.asm"\n.include "part.asm"\n', part="nop\n") == ["nop"]


def test_macros_take_arguments_and_number_their_labels(tmp_path: Path) -> None:
    text = ".macro SAY text, register\nlea \\register, [rip + .text_\\@]\n.text_\\@:\n.asciz \\text\n.endmacro\nmain:\nSAY \"a, b\", rsi\nSAY \"c\", rdi\n"
    assert lines(tmp_path, text) == ["main:", "lea rsi, [rip + main.text_1]", "main.text_1:", '.asciz "a, b"',
                                     "lea rdi, [rip + main.text_2]", "main.text_2:", '.asciz "c"']


def test_repetitions_and_conditions(tmp_path: Path) -> None:
    text = ".repeat 4, i\nstub_\\i:\n.if \\i % 2\npush \\i\n.else\n.if \\i == 2\nint3\n.endif\nnop\n.endif\n.endrepeat\n"
    assert lines(tmp_path, text) == ["stub_0:", "nop", "stub_1:", "push 1", "stub_2:", "int3", "nop", "stub_3:", "push 3"]


def test_absolute_gs_accesses_stay_absolute(tmp_path: Path) -> None:
    assert lines(tmp_path, ".const FIELD = 0x18\nmov gs:[FIELD], rbx\nmov rax, gs:[FIELD + 8]\nmov rcx, gs:[rdx]\n") == [
        "mov gs:[riz*1 + 0x18], rbx", "mov rax, gs:[riz*1 + 0x20]", "mov rcx, gs:[rdx]"]


@pytest.mark.parametrize(("text", "value"), [
    ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("0xFF & ~0xF", 0xF0), ("1 << 4 | 1", 17), ("-8 / 3", -3), ("7 % 4", 3), ("A.b - 1", 4), ("'A'", 65), ("3 >= 3", 1),
    ("2 == 3", 0), ("5 ^ 1", 4)])
def test_expressions(text: str, value: int) -> None:
    assert evaluate(text, {"A.b": 5}) == value


@pytest.mark.parametrize("text", ["", "1 +", "x", "f(1)", "1 if 2 else 3", "1.5", "1 / 0", "'AB'", "[1]", "True", "__import__('os')"])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        evaluate(text, {})


def test_arguments_are_split_outside_brackets_and_strings() -> None:
    assert split_arguments('a, [b, c], "d, e"') == ["a", " [b, c]", ' "d, e"']
    assert split_arguments("") == []
    assert strip_comment('mov al, "\\";" ; x') == 'mov al, "\\";"'


# --- mistakes ------------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("text", "message"), [
    ("nop\n.bogus 1\n", "main.asm:2: unknown directive .bogus"),
    ("a:\nnop\na:\n", "main.asm:3: the label a exists already, at main.asm:1"),
    (".loop:\n", "main.asm:1: the local label .loop has no label before it"),
    (".const A = 1\n.const A = 2\n", "main.asm:2: the constant A exists already"),
    ("A:\n.const A = 2\n", "main.asm:2: A is a label and cannot be a constant"),
    (".const A = 2\nA:\n", "main.asm:2: A is a constant and cannot be a label"),
    (".const A\n", "main.asm:1: .const wants NAME = EXPRESSION"),
    (".const A = B + 1\n", "main.asm:1: the constant B is not known here"),
    (".struct S\n.field a, 8\n", "main.asm:1: .struct without .endstruct"),
    (".struct S\nnop\n.endstruct\n", "main.asm:2: a .struct holds lines like `.field NAME, BYTES`"),
    (".endmacro\n", "main.asm:1: .endmacro without its beginning"),
    (".macro M a\nnop\n.endmacro\nM\n", "main.asm:4: M wants 1 arguments (a), not 0"),
    (".macro M\n.endmacro\n.macro M\n.endmacro\n", "main.asm:3: the macro M exists already"),
    (".macro M\nM\n.endmacro\nM\n", "main.asm:2: macros are nested 32 deep (pasted by M at main.asm:2)"),
    (".macro M x\n.word \\x\n.endmacro\nM 70000\n", "main.asm:2: 70000 does not fit into .word (pasted by M at main.asm:4)"),
    (".byte 256\n", "main.asm:1: 256 does not fit into .byte"),
    ("mov eax, \\x\n", "main.asm:1: a \\parameter outside a macro or repetition"),
    (".repeat 300000, i\nnop\n.endrepeat\n", "main.asm:2: more than 200000 lines: a repetition does not end (pasted by .repeat at main.asm:1, pass 200000)"),
    (".if 1\n.else\n.else\n.endif\n", "main.asm:3: a second .else"),
    (".include other.asm\n", 'main.asm:1: .include wants a "file"'),
    ('.include "none.asm"\n', "main.asm:1: there is no file none.asm"),
    (".section\n", "main.asm:1: .section wants a name"),
    ("mov eax, 1 <<\n", "main.asm:1: "),
])
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    if message.endswith(": "):
        assert mistake(tmp_path, text.replace("1 <<", "1 << * 2")).startswith(message)
    else:
        assert mistake(tmp_path, text) == message


def test_a_mistake_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    assert mistake(tmp_path, 'nop\n.include "part.asm"\n', part="nop\nnop\n.what\n") == "part.asm:3: unknown directive .what"


def test_a_missing_main_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.asm: .*No such file"):
        preprocess(tmp_path / "gone.asm")
