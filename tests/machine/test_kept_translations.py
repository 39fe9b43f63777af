"""Going back keeps the translations of code in pages that were not written since, and of no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import machine.memory
from machine import Configuration, ExitReason, Firmware, Machine
from machine.memory import MIB
from tests.machine.rom import EIGHT_BITS, rom

ROUTINE, OTHER_ROUTINE, CHANGE = 0x8000, 0x9000, 0x700
# Calls two routines of one letter each and prints what they return; where the byte at CHANGE says so, it changes the first one's letter between two calls.
LETTERS = (EIGHT_BITS + "xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000;"
           "again: .byte 0x9a, 0x00, 0x80, 0x00, 0x00; mov dx, 0x3f8; out dx, al; .byte 0x9a, 0x00, 0x90, 0x00, 0x00; mov dx, 0x3f8; out dx, al;"
           "mov al, byte ptr [0x700]; add byte ptr [0x8001], al; mov cx, 100; wait: loop wait; jmp again")


def letter(code: str) -> bytes:
    """A routine: `mov al, letter; retf`."""
    return b"\xb0" + code.encode() + b"\xcb"


@pytest.fixture
def pc() -> Iterator[Machine]:
    pc = Machine(Firmware(rom(LETTERS)), Configuration(4 * MIB, clock="instructions"))
    pc.board.as_firmware_leaves_it()
    pc.memory.write(ROUTINE, letter("a"))
    pc.memory.write(OTHER_ROUTINE, letter("X"))
    yield pc
    pc.close()


def say(pc: Machine, count: int) -> str:
    output = bytearray()
    pc.board.serial_out = output.extend
    assert pc.run(until=lambda: len(output) >= count, timeout=5.0).reason is ExitReason.CONDITION
    return output[:count].decode()


def test_code_that_changed_itself_is_what_it_was(pc: Machine) -> None:
    say(pc, 6)
    checkpoint = pc.checkpoint()
    assert set(say(pc, 10)) == set("aX")
    pc.memory.write(CHANGE, b"\x01")
    assert "c" in say(pc, 40)
    pc.restore(checkpoint)
    assert set(say(pc, 10)) == set("aX")


def test_code_that_the_host_wrote_is_gone(pc: Machine) -> None:
    say(pc, 6)
    checkpoint = pc.checkpoint()
    for new in "bc":
        pc.memory.write(ROUTINE, letter(new))
        assert new in say(pc, 20)
        pc.restore(checkpoint)
        assert set(say(pc, 10)) == set("aX")


def test_an_older_checkpoint_brings_older_code(pc: Machine) -> None:
    first = pc.checkpoint()
    assert "a" in say(pc, 10)
    pc.memory.write(ROUTINE, letter("b"))
    assert "b" in say(pc, 20)
    second = pc.checkpoint()
    for checkpoint, expected in ((first, "a"), (second, "b"), (second, "b"), (first, "a"), (first, "a"), (second, "b")):
        pc.restore(checkpoint)
        assert set(say(pc, 10)) == {expected, "X"}


def test_what_was_not_written_is_not_translated_again(pc: Machine) -> None:
    """Seen by changing the checkpoint behind its back: what is still translated goes on as it was."""
    say(pc, 6)
    pc.memory.write(CHANGE, b"\x00")
    checkpoint = pc.checkpoint()
    say(pc, 10)
    checkpoint.ram.write(ROUTINE, letter("s"))           # in a page that the guest writes
    checkpoint.ram.write(OTHER_ROUTINE, letter("S"))     # in one that it does not
    pc.restore(checkpoint)
    assert set(say(pc, 10)) == set("sX")


def test_without_the_kernels_page_map_all_is_translated_again(pc: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.memory, "PAGEMAP", "/proc/self/there-is-none")
    say(pc, 6)
    checkpoint = pc.checkpoint()
    say(pc, 10)
    checkpoint.ram.write(OTHER_ROUTINE, letter("S"))
    pc.restore(checkpoint)
    assert set(say(pc, 10)) == set("aS")
