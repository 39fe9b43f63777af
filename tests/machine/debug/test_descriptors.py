"""Descriptors in words, against a guest that has loaded its own tables."""

from __future__ import annotations

import pytest

from machine import Configuration, Firmware, Machine
from machine.debug.descriptors import descriptor, gdt, tss
from machine.debug.target import Target
from machine.errors import TargetError
from tests.machine.rom import rom

CODE_32, DATA_32, TSS_32 = 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x0000890008000067
TEXT = "xor ax, ax; mov ds, ax; lgdt [0x600]; mov eax, cr0; or al, 1; mov cr0, eax; mov ax, 0x18; ltr ax; hlt"


@pytest.mark.parametrize(("entry", "upper", "words"), [
    (CODE_32, 0, "32-bit code, readable, base 0x0, limit 0xffffffff, DPL 0"),
    (0x00AFFB000000FFFF, 0, "64-bit code, readable, base 0x0, limit 0xffffffff, DPL 3"),
    (0x12401100567800AA | 1 << 44, 0, "data, read only, base 0x12005678, limit 0xaa, DPL 0, not present"),
    (0x0000890008000067, 0xFFFFFFFF, "TSS, base 0xffffffff00000800, limit 0x67, DPL 0"), (0x0000EE0000080000, 0, "interrupt gate, DPL 3"),
    (0x0000800000000000, 0, "reserved type 0x0, base 0x0, limit 0x0, DPL 0"),
])
def test_3_4_5_descriptors(entry: int, upper: int, words: str) -> None:
    assert descriptor(entry, upper) == words


def test_the_tables_of_a_guest() -> None:
    machine = Machine(Firmware(rom(TEXT)), Configuration(memory=4 << 20, clock="instructions"))
    target = Target(machine)
    with pytest.raises(TargetError, match="no task-state segment"):
        tss(target, 0)
    machine.memory.write(0x600, (0x1F).to_bytes(2, "little") + (0x700).to_bytes(4, "little"))
    machine.memory.write(0x700, b"".join(entry.to_bytes(8, "little") for entry in (0, CODE_32, DATA_32, TSS_32)))
    machine.memory.write(0x800, bytes(4) + (0x7000).to_bytes(4, "little") + (0x10).to_bytes(4, "little") + bytes(92))
    machine.engine.run(0, 1000)
    assert gdt(target, 0)[0] == "GDT at 0x700, limit 0x1f" and gdt(target, 0)[3].startswith("  0x0018: TSS, busy, base 0x800")
    assert tss(target, 0) == ["TSS 0x18 at 0x800, limit 0x67", "  ESP0 0x7000", "  SS0 0x10"]
    machine.close()
