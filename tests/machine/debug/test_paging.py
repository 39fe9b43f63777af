"""Page walks against the examples of the SDM's figures, and against what the engine itself does."""

from __future__ import annotations

import struct

import pytest

from machine.debug.paging import LMA, PAE, PG, PSE, walk
from machine.debug.target import Target
from machine.loaders import bzimage
from machine.loaders.entry import LongMode


class Memory:
    def __init__(self, **words: int) -> None:
        self.words: dict[int, int] = {}

    def read(self, address: int, length: int) -> bytes:
        return self.words.get(address, 0).to_bytes(length, "little")


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_without_paging_linear_is_physical(memory: Memory) -> None:
    assert walk(memory.read, 0x1_0000_1234, 0, 0, 0, 0).physical == 0x1234


def test_4_3_two_levels_and_4_mib_pages(memory: Memory) -> None:
    memory.words = {0x1000 + 4 * 2: 0x5003, 0x5000 + 4 * 3: 0x77007, 0x1000 + 4 * 5: 0x00C02083}
    small = walk(memory.read, 2 << 22 | 3 << 12 | 0x45, PG, 0x1000, PSE, 0)
    assert (small.physical, small.rights, [step.level for step in small.steps]) == (0x77045, "rwx-", ["PDE", "PTE"])
    large = walk(memory.read, 5 << 22 | 0x12345, PG, 0x1000, PSE, 0)
    assert large.physical == (1 << 32 | 0xC00000 | 0x12345), "PSE-36"
    assert walk(memory.read, 9 << 22, PG, 0x1000, PSE, 0).physical is None


def test_4_4_pae(memory: Memory) -> None:
    memory.words = {0x1020 + 8: 0x2001, 0x2000 + 8 * 4: 0x8000_0000_0060_0083, 0x2000 + 8 * 5: 0x3007, 0x3000 + 8 * 6: 0x9_9005}
    assert walk(memory.read, 1 << 30 | 4 << 21 | 0x777, PG, 0x1020, PAE, 0).physical == 0x600777
    found = walk(memory.read, 1 << 30 | 5 << 21 | 6 << 12 | 1, PG, 0x1020, PAE, 0)
    assert (found.physical, found.rights) == (0x99001, "r-xu")


def test_4_5_four_levels_with_1_gib_pages(memory: Memory) -> None:
    memory.words = {0x1000 + 8 * 511: 0x2003, 0x2000 + 8 * 510: 0x8000_0000_C000_0083}
    found = walk(memory.read, 0xFFFF_FFFF_8012_3456, PG, 0x1000, PAE, LMA)
    assert (found.mode, found.physical, found.rights) == ("4-level", 0xC0123456, "rw--")


def test_the_walk_agrees_with_the_engine() -> None:
    """The guest reads through a scrambled map; the debugger reads the same addresses."""
    from machine import Configuration, Firmware, Machine
    from tests.machine.engine.bench_guest import assemble
    from tests.machine.rom import rom

    machine = Machine(Firmware(rom("hlt")), Configuration(memory=16 << 20, clock="instructions"))
    memory = machine.memory
    memory.write(bzimage.PAGE_TABLES, bzimage._identity_map())
    directory = bzimage.PAGE_TABLES + 2 * 4096
    for page in range(1, 6):                             # 2 MiB pages 1..5 of the first GiB lead to 6..2
        memory.write(directory + 8 * page, ((7 - page) << 21 | 0x83).to_bytes(8, "little"))
        memory.write(((7 - page) << 21) + 0x10, page.to_bytes(8, "little"))
    memory.write(bzimage.GDT, struct.pack("<4Q", 0, 0, bzimage.FLAT_CODE_64, bzimage.FLAT_DATA))
    code = "xor eax, eax;" + "".join(f"add rax, [{page << 21 | 0x10:#x}]; shl rax, 8;" for page in range(1, 6)) + "hlt"
    memory.write(0x10000, assemble(code, 0x10000))
    LongMode(0x10000, 0x8000, 0, bzimage.PAGE_TABLES, bzimage.GDT, 31, 0x10, 0x18).apply(machine.engine.vcpus[0])
    machine.engine.run(0, 1000)
    target = Target(machine)
    seen = [int.from_bytes(target.read(0, page << 21 | 0x10, 8), "little") for page in range(1, 6)]
    assert seen == [1, 2, 3, 4, 5]
    assert machine.engine.vcpus[0].regs[0] == 0x0102030405 << 8
    assert target.read(0, (2 << 21) - 4, 8) == memory.read((2 << 21) - 4 + (5 << 21), 4) + memory.read(5 << 21, 4), "across a page's end"
    machine.close()
