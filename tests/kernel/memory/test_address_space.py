from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.boot_record import MemoryKind, MemoryRange
from kernel.errors import KernelError, MappingError, OutOfMemory, UserFault
from kernel.hardware import PAGE_SIZE, PhysicalMemory
from kernel.memory.address_space import (
    ADDRESS_MASK,
    NO_EXECUTE,
    PRESENT,
    USER,
    USER_END,
    WRITABLE,
    Access,
    AddressSpace,
    nucleus_tables,
)
from kernel.memory.frames import FrameAllocator
from tests.kernel.fake import MIB, Machine

ROOT = 0x1000


def space(megabytes: int = 2) -> AddressSpace:
    machine = Machine(4 * MIB)
    memory = PhysicalMemory(machine)
    memory.write_u64(ROOT + 256 * 8, 0x2003)
    memory.write_u64(ROOT + 511 * 8, 0x3003)
    frames = FrameAllocator([MemoryRange(MIB, megabytes * MIB, MemoryKind.USABLE)])
    return AddressSpace(memory, frames, ROOT)


def leaf(one: AddressSpace, virtual: int) -> int:
    table = one.root
    for level in (3, 2, 1):
        table = one.memory.read_u64(table + 8 * (virtual >> 12 + 9 * level & 511)) & ADDRESS_MASK
    return one.memory.read_u64(table + 8 * (virtual >> 12 & 511))


def test_the_upper_half_is_the_nucleus_and_the_lower_is_empty() -> None:
    one = space()
    root = one.memory.read(one.root, PAGE_SIZE)
    assert root[:2048] == bytes(2048)
    assert root[2048:2056] == (0x2003).to_bytes(8, "little")
    assert root[-8:] == (0x3003).to_bytes(8, "little")


@pytest.mark.parametrize(("access", "writable", "no_execute"), [
    (Access.READ, 0, NO_EXECUTE), (Access.WRITE, WRITABLE, NO_EXECUTE), (Access.EXECUTE, 0, 0)])
def test_leaf_bits(access: Access, writable: int, no_execute: int) -> None:
    one = space()
    one.allocate(0x400000, PAGE_SIZE, access)
    entry = leaf(one, 0x400000)
    assert entry & ~ADDRESS_MASK == PRESENT | USER | writable | no_execute
    assert one.translate(0x400123) == (entry & ADDRESS_MASK | 0x123, access)


def test_writable_and_executable_at_once_is_refused() -> None:
    one = space()
    with pytest.raises(MappingError, match="not both"):
        one.allocate(0x400000, PAGE_SIZE, Access.WRITE | Access.EXECUTE)
    one.allocate(0x400000, PAGE_SIZE, Access.WRITE)
    with pytest.raises(MappingError, match="not both"):
        one.protect(0x400000, PAGE_SIZE, Access.WRITE | Access.EXECUTE)
    assert one.translate(0x400000) is not None


@pytest.mark.parametrize(("virtual", "length"), [
    (0, PAGE_SIZE), (0x1001, PAGE_SIZE), (0x1000, 5), (0x1000, 0), (0x1000, -PAGE_SIZE), (USER_END - PAGE_SIZE, 2 * PAGE_SIZE), (USER_END, PAGE_SIZE),
    (1 << 63, PAGE_SIZE), (-PAGE_SIZE, PAGE_SIZE)])
def test_ranges_that_cannot_be_mapped(virtual: int, length: int) -> None:
    with pytest.raises(MappingError):
        space().allocate(virtual, length, Access.READ)


def test_a_page_is_mapped_once_and_nothing_is_taken_by_a_refusal() -> None:
    one = space()
    one.allocate(0x402000, PAGE_SIZE, Access.READ)
    size = one.size
    with pytest.raises(MappingError, match="mapped already"):
        one.allocate(0x400000, 4 * PAGE_SIZE, Access.READ)
    assert one.size == size
    assert one.translate(0x400000) is None


def test_unmap_and_protect_withdraw_rights_and_say_so() -> None:
    one = space()
    one.allocate(0x400000, 3 * PAGE_SIZE, Access.WRITE)
    one.protect(0x401000, PAGE_SIZE, Access.READ)
    assert one.generation == 1
    one.unmap(0x402000, PAGE_SIZE)
    assert one.generation == 2
    one.write_user(0x400000, b"x")
    with pytest.raises(UserFault, match="not writable"):
        one.write_user(0x401000, b"x")
    with pytest.raises(UserFault, match="not mapped"):
        one.read_user(0x402000, 1)
    for act in (one.unmap, lambda at, length: one.protect(at, length, Access.READ)):
        with pytest.raises(MappingError, match="not mapped"):
            act(0x402000, PAGE_SIZE)


def test_a_write_across_pages_is_all_or_nothing() -> None:
    one = space()
    one.allocate(0x400000, PAGE_SIZE, Access.WRITE)
    one.allocate(0x401000, PAGE_SIZE, Access.READ)
    with pytest.raises(UserFault):
        one.write_user(0x400FFC, b"12345678")
    assert one.read_user(0x400FFC, 8) == bytes(8)
    one.protect(0x401000, PAGE_SIZE, Access.WRITE)
    one.write_user(0x400FFC, b"12345678")
    assert one.read_user(0x400FFC, 8) == b"12345678"


@pytest.mark.parametrize(("pointer", "length"), [
    (0, 1), (USER_END - 1, 2), (USER_END, 1), ((1 << 64) - 1, 1), (0xFFFF_8000_0000_0000, 8), (0x400000, -1), (0x400000, 1 << 62)])
def test_pointers_outside_the_lower_half(pointer: int, length: int) -> None:
    with pytest.raises(UserFault):
        space().read_user(pointer, length)


def test_supervisor_pages_are_not_the_tasks() -> None:
    one = space()
    one.allocate(0x400000, PAGE_SIZE, Access.WRITE)
    slot = one.root
    entry = one.memory.read_u64(slot)
    one.memory.write_u64(slot, entry & ~USER)
    assert one.translate(0x400000) is None


def test_a_table_entry_that_leads_nowhere_is_a_kernel_error() -> None:
    one = space()
    one.allocate(0x400000, PAGE_SIZE, Access.WRITE)
    one.memory.write_u64(one.root, 0xF_FFFF_F000 | PRESENT | USER | WRITABLE)
    with pytest.raises(KernelError, match="not guest RAM"):
        one.read_user(0x400000, 1)


def test_destroy_gives_everything_back() -> None:
    one = space()
    one.allocate(0x400000, 5 * PAGE_SIZE, Access.WRITE)
    one.allocate(USER_END - 4 * PAGE_SIZE, PAGE_SIZE, Access.READ)
    assert one.frames.statistics().used == one.size
    one.destroy()
    assert one.frames.statistics().used == 0


def test_memory_running_out_leaves_nothing_behind_after_destroy() -> None:
    one = space(1)
    with pytest.raises(OutOfMemory):
        one.allocate(0x400000, 2 * MIB, Access.WRITE)
    one.destroy()
    assert one.frames.statistics().used == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 6), st.sampled_from([Access.READ, Access.WRITE, Access.EXECUTE])), max_size=12),
       st.integers(0, 50 * PAGE_SIZE))
@settings(max_examples=60, deadline=None)
def test_translation_agrees_with_what_was_mapped(mappings: list[tuple[int, int, Access]], probe: int) -> None:
    one = space()
    model: dict[int, Access] = {}
    for first, count, access in mappings:
        pages = range(first, first + count)
        if any(page in model for page in pages):
            with pytest.raises(MappingError):
                one.allocate(first * PAGE_SIZE, count * PAGE_SIZE, access)
        else:
            one.allocate(first * PAGE_SIZE, count * PAGE_SIZE, access)
            model.update(dict.fromkeys(pages, access))
    found = one.translate(probe)
    assert (found[1] if found else None) == model.get(probe // PAGE_SIZE)
    frames = [one.translate(page * PAGE_SIZE) for page in model]
    assert len({frame[0] for frame in frames if frame}) == len(model)


def test_nucleus_tables_finds_every_table_and_stops_at_large_pages() -> None:
    machine = Machine(MIB)
    memory = PhysicalMemory(machine)
    memory.write_u64(0x1000 + 256 * 8, 0x2003)
    memory.write_u64(0x1000, 0x9003)                    # the lower half is not the nucleus's
    memory.write_u64(0x2000, 0x3003)
    memory.write_u64(0x2000 + 8, 0x8000_0083)           # 1 GiB page
    memory.write_u64(0x3000, 0x4003)
    memory.write_u64(0x3000 + 8, 0x20_0083)             # 2 MiB page
    memory.write_u64(0x4000, 0x5003)                    # 4 KiB page
    assert nucleus_tables(memory, 0x1000) == {0x1000, 0x2000, 0x3000, 0x4000}


def test_nucleus_tables_that_point_to_themselves_or_out_of_memory() -> None:
    machine = Machine(MIB)
    memory = PhysicalMemory(machine)
    memory.write_u64(0x1000 + 511 * 8, 0x1003)
    assert nucleus_tables(memory, 0x1000) == {0x1000}
    memory.write_u64(0x1000 + 256 * 8, 0x7FFF_F003)
    with pytest.raises(KernelError, match="not guest RAM"):
        nucleus_tables(memory, 0x1000)
