from __future__ import annotations

import io
import struct

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.boot_record import MemoryKind, MemoryRange
from kernel.errors import KernelError, OutOfMemory, ProgramError
from kernel.gate import FRAME_IN_BLOCK, TrapFrame
from kernel.hardware import PAGE_SIZE, PhysicalMemory
from kernel.memory.address_space import Access
from kernel.memory.frames import FrameAllocator
from kernel.tasks.loader import STACK_SIZE, STACK_TOP, LoadedProgram, Program, load
from tests.kernel.fake import MIB, PROGRAM, Machine, elf

TEXT = (0x400000, b"\xEB\xFE", 2, 5)


def machine_memory(megabytes: int = 2) -> tuple[PhysicalMemory, FrameAllocator]:
    return PhysicalMemory(Machine(4 * MIB)), FrameAllocator([MemoryRange(MIB, megabytes * MIB, MemoryKind.USABLE)])


def loaded(image: bytes) -> tuple[LoadedProgram, PhysicalMemory, FrameAllocator]:
    memory, frames = machine_memory()
    return load(image, 42, memory, frames, 0x1000), memory, frames


def test_pyelftools_reads_our_test_program_as_we_do() -> None:
    theirs = [(segment["p_vaddr"], segment["p_memsz"], segment["p_flags"]) for segment in ELFFile(io.BytesIO(PROGRAM)).iter_segments()]
    ours = Program.parse(PROGRAM)
    assert [(segment.virtual, segment.memory_size) for segment in ours.segments] == [(virtual, size) for virtual, size, _flags in theirs]
    assert ours.entry == ELFFile(io.BytesIO(PROGRAM))["e_entry"]


def test_segments_stack_and_registers() -> None:
    program, memory, _frames = loaded(PROGRAM)
    space = program.space
    assert space.read_user(0x400000, 2) == b"\xEB\xFE"
    assert space.read_user(0x401000, 8192) == b"data" + bytes(8188)
    rights = {address: found[1] for address in (0x400000, 0x401000, 0x402000, STACK_TOP - 1) if (found := space.translate(address))}
    assert rights == {0x400000: Access.EXECUTE, 0x401000: Access.WRITE, 0x402000: Access.WRITE, STACK_TOP - 1: Access.WRITE}
    assert space.translate(STACK_TOP - STACK_SIZE - 1) is None and space.translate(STACK_TOP) is None
    frame = TrapFrame.load(memory, program.block + FRAME_IN_BLOCK)
    assert frame == TrapFrame(rip=0x400000, cs=0x23, ss=0x1B, rsp=STACK_TOP, rflags=0x202, rdi=42)


def test_data_that_begins_and_ends_inside_pages() -> None:
    program, _memory, _frames = loaded(elf((TEXT, (0x500FF0, b"x" * 0x20, 0x40, 6)), 0x400000))
    assert program.space.read_user(0x500000, 2 * PAGE_SIZE) == bytes(0xFF0) + b"x" * 0x20 + bytes(2 * PAGE_SIZE - 0x1010)


@pytest.mark.parametrize(("image", "message"), [
    (b"", "too few"),
    (PROGRAM[:63], "too few"),
    (b"\x7fELG" + PROGRAM[4:], "not an ELF file"),
    (elf((TEXT,), 0x400000, cls=1), "not a 64-bit"),
    (elf((TEXT,), 0x400000, encoding=2), "not a 64-bit"),
    (elf((TEXT,), 0x400000, machine=183), "not a 64-bit"),
    (elf((TEXT,), 0x400000, type=3), "not a static executable"),
    (elf((TEXT,), 0x400000, type=1), "not a static executable"),
    (elf((TEXT,), 0x400000, phnum=0), "0 program headers"),
    (elf((TEXT,), 0x400000, phnum=65), "65 program headers"),
    (elf((TEXT,), 0x400000, phentsize=32), "of 32 bytes"),
    (elf((TEXT,), 0x400000, phoff=1 << 63), "beyond its end"),
    (elf((TEXT,), 0x400000, phnum=40), "beyond its end"),
    (elf((TEXT,), 0x500000), "entry 0x500000 is not in executable memory"),
    (elf((TEXT, (0x500000, b"", 64, 6)), 0x500000), "not in executable memory"),
    (elf(((0x400000, b"x", 2, 7),), 0x400000), "writable and executable"),
    (elf((TEXT, (0x400800, b"x", 2, 6)), 0x400000), "share a page"),
    (elf((TEXT, (0x3FF000, b"x", 0x1001, 6)), 0x400000), "share a page"),
    (elf(((0, b"x", 2, 5),), 0), "not in user memory"),
    (elf(((0xFFF, b"x", 2, 5),), 0xFFF), "not in user memory"),
    (elf((TEXT, (STACK_TOP - STACK_SIZE, b"x", 2, 6)), 0x400000), "not in user memory"),
    (elf((TEXT, (0xFFFF_8000_0000_0000, b"x", 2, 6)), 0x400000), "not in user memory"),
    (elf((TEXT, ((1 << 64) - 1, b"x", 2, 6)), 0x400000), "not in user memory"),
    (elf((TEXT, (0x500000, b"xyz", 2, 6)), 0x400000), "beyond the file's end"),
    (elf((TEXT, (0x500000, b"", 65 << 20, 6)), 0x400000), "larger than 64 MiB"),
    (elf((TEXT, (0x500000, b"", 40 << 20, 6), (0x9000000, b"", 40 << 20, 6)), 0x400000), "larger than 64 MiB"),
    (PROGRAM[:0x40] + struct.pack("<I", 2) + PROGRAM[0x44:], "dynamically linked"),
    (PROGRAM[:0x40] + struct.pack("<I", 3) + PROGRAM[0x44:], "dynamically linked"),
])
def test_refusals_are_named_and_cost_nothing(image: bytes, message: str) -> None:
    memory, frames = machine_memory()
    with pytest.raises(ProgramError, match=message):
        load(image, 0, memory, frames, 0x1000)
    assert frames.statistics().used == 0


def test_memory_that_runs_out_half_way_is_given_back() -> None:
    memory, frames = machine_memory(1)
    with pytest.raises(OutOfMemory):
        load(elf((TEXT, (0x500000, b"", 8 * MIB, 6)), 0x400000), 0, memory, frames, 0x1000)
    assert frames.statistics().used == 0


def test_frames_that_are_no_ram_are_given_back() -> None:
    memory, frames = PhysicalMemory(Machine(4 * MIB)), FrameAllocator([MemoryRange(8 * MIB, MIB, MemoryKind.USABLE)])
    with pytest.raises(KernelError, match="cannot be written"):
        load(PROGRAM, 0, memory, frames, 0x1000)
    assert frames.statistics().used == 0


@given(st.lists(st.tuples(st.integers(0, len(PROGRAM) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_damaged_programs_load_or_are_refused(changes: list[tuple[int, int]]) -> None:
    image = bytearray(PROGRAM)
    for at, value in changes:
        image[at] = value
    memory, frames = machine_memory()
    try:
        program = load(bytes(image), 0, memory, frames, 0x1000)
    except KernelError:
        assert frames.statistics().used == 0
        return
    for page in range(0x3F0000, 0x410000, PAGE_SIZE):
        found = program.space.translate(page)
        assert found is None or found[1] != Access.WRITE | Access.EXECUTE
