"""Our chips answer as QEMU's do, but for the differences that have a name; and QEMU still answers as is written down."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from tests.conformance.peer import chips, golden, sequences, sides
from tests.conformance.peer.differences import DIFFERENCES
from tests.conformance.peer.guest import Op, record
from tests.conformance.peer.script import FOLDER, compile_script, read

DOCS = Path(__file__).parents[3] / "docs" / "devices.md"
EACH = pytest.mark.parametrize("name", list(chips.CHIPS))


@EACH
def test_our_chips_answer_as_qemu_did(name: str) -> None:
    script = chips.CHIPS[name].script()
    differing = golden.differences(script, sides.ours(script.records), golden.read(name))
    assert not differing, "\n".join(differing)


@EACH
def test_qemu_still_says_so(name: str) -> None:
    installed = sides.version()
    if installed is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    if installed != golden.recorded_by(name):
        pytest.skip(f"QEMU {installed} is installed, the answers are those of {golden.recorded_by(name)}")
    script = chips.CHIPS[name].script()
    said, kept = sides.qemu(script.records, *chips.CHIPS[name].options), golden.read(name)
    assert len(said) == len(kept) == len(script.questions)
    assert [(question, answer) for question, answer, wanted in zip(script.questions, said, kept, strict=True) if answer != wanted] == []


def test_every_difference_has_a_name_and_every_name_is_used() -> None:
    """Names behind `!`, behind masks, and in comments on what is left out."""
    used = set()
    for name in chips.CHIPS:
        used |= {question.difference for question in chips.CHIPS[name].script().questions if question.difference}
        text = "\n".join((*read(name), *(chips.CHIPS[name].sequence or sequences.pm)(random.Random(chips.SEED))))
        masks = re.findall(r"& ([0-9a-f]+)(?: ([a-z][a-z0-9-]+))?", text)
        assert all(mask == "0" or of for mask, of in masks), f"{name}: a mask without a name"
        used |= {of for _, of in masks if of}
    assert used <= set(DIFFERENCES), used - set(DIFFERENCES)
    mentioned = "\n".join(path.read_text() for path in (*FOLDER.glob("*.txt"), Path(sequences.__file__)))
    assert [name for name in DIFFERENCES if name not in used and name not in mentioned] == []


def test_the_documentation_lists_them() -> None:
    text = DOCS.read_text()
    assert [name for name in DIFFERENCES if f"`{name}`" not in text] == []


def test_a_difference_is_noticed_either_way() -> None:
    """An answer that should be QEMU's and is not; one that should not be and is; one that is missing; one too many."""
    script = compile_script(["in 20", "in 21 ! pit-gate 07"])
    assert golden.differences(script, ["01", "07"], ["01", "00"]) == []
    assert "line 1 [] in 20: we answer 02, QEMU 01" in golden.differences(script, ["02", "07"], ["01", "00"])[0]
    assert "pit-gate says 07" in golden.differences(script, ["01", "00"], ["01", "00"])[0]
    assert "is no difference" in golden.differences(script, ["01", "07"], ["01", "07"])[0]
    assert "nothing" in golden.differences(script, ["01"], ["01", "00"])[0]
    assert "more answers" in golden.differences(script, ["01", "07", "trap"], ["01", "00"])[0]


def test_macros_repetitions_and_what_they_are_made_of() -> None:
    script = compile_script([
        "def both", "outw $1 $2", "in $1 & f0 pit-gate", "end", "[s]", "repeat 9-A both 1234", "read64 fee00000", "wait in 64 1 1", "delay 2"])
    assert script.records == b"".join((
        record(Op.OUT, 2, 0, 9, 0x1234), record(Op.IN, 1, 0, 9, 0xF0), record(Op.OUT, 2, 0, 10, 0x1234), record(Op.IN, 1, 0, 10, 0xF0),
        record(Op.READ, 8, 0, 0xFEE00000, (1 << 64) - 1), record(Op.WAIT_PORT, 1, 0, 0x64, 1 | 1 << 32), record(Op.DELAY, value=126)))
    assert [(question.section, question.number) for question in script.questions] == [("s", 6), ("s", 6), ("s", 7), ("s", 8)]
    with pytest.raises(ValueError, match="no such access: 'inn 20'"):
        compile_script(["inn 20"])
    with pytest.raises(ValueError, match="both is not called so: 'both 1 & f0 pit-gate'"):
        compile_script(["def both", "in $1", "end", "both 1 & f0 pit-gate"])
    with pytest.raises(ValueError, match="halt is an access"):
        compile_script(["def halt", "end"])
    with pytest.raises(AssertionError, match="more known answers"):
        compile_script(["in 20 ! pit-gate 1 2"])


def test_the_guest_waits_prints_and_traps() -> None:
    assert sides.ours(compile_script([
        "wait in e9 ff e9", "wait read32 fee00030 ff 15", "write64 21000 1122334455667788", "read64 21000", "read16 21006", "read8 21001 & f0 pit-gate",
        "interrupts 1", "write32 fee000f0 1ff", "write32 fee00300 44099", "interrupts 1 local"]).records) == [
            "ok", "timeout", "1122334455667788", "1122", "70", "i", "i 99"]
