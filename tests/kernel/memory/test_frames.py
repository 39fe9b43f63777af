from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernel.boot_record import MemoryKind, MemoryRange
from kernel.errors import DoubleFree, OutOfMemory
from kernel.hardware import PAGE_SIZE
from kernel.memory.frames import LOW_MEMORY_END, MAX_ORDER, FrameAllocator

MIB = 1 << 20
MAP = (
    MemoryRange(0, 0x9F000, MemoryKind.USABLE), MemoryRange(MIB, 3 * MIB + 5 * PAGE_SIZE, MemoryKind.USABLE),
    MemoryRange(5 * MIB, MIB, MemoryKind.RESERVED), MemoryRange(6 * MIB + PAGE_SIZE, 9 * MIB, MemoryKind.USABLE))
RESERVED = ((2 * MIB + 100, 3 * PAGE_SIZE), (7 * MIB, PAGE_SIZE), (7 * MIB, 10), (100 * MIB, MIB), (0, 1))


class Model(RuleBasedStateMachine):
    """The allocator against a dictionary of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = FrameAllocator(MAP, RESERVED)
        self.at_first = self.allocator.statistics()
        self.blocks: dict[int, int] = {}

    @rule(order=st.integers(0, MAX_ORDER))
    def allocate(self, order: int) -> None:
        before = self.allocator.statistics()
        try:
            address = self.allocator.allocate(order)
        except OutOfMemory:
            assert before.largest_free < PAGE_SIZE << order
            return
        size = PAGE_SIZE << order
        assert address % size == 0
        assert address >= LOW_MEMORY_END
        assert any(entry.kind is MemoryKind.USABLE and entry.base <= address and address + size <= entry.end for entry in MAP)
        assert all(address + size <= base // PAGE_SIZE * PAGE_SIZE or base + length <= address for base, length in RESERVED)
        assert all(address + size <= other or other + length <= address for other, length in self.blocks.items())
        self.blocks[address] = size

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.blocks)))
        del self.blocks[address]
        self.allocator.free(address)
        with pytest.raises(DoubleFree):
            self.allocator.free(address)

    @rule(address=st.integers(0, 20 * MIB))
    def free_what_is_no_block(self, address: int) -> None:
        if address not in self.blocks:
            with pytest.raises(DoubleFree):
                self.allocator.free(address)

    @rule()
    def free_all(self) -> None:
        for address in self.blocks:
            self.allocator.free(address)
        self.blocks.clear()
        now = self.allocator.statistics()
        assert (now.free, now.largest_free) == (self.at_first.free, self.at_first.largest_free)     # everything has merged again

    @invariant()
    def figures_add_up(self) -> None:
        figures = self.allocator.statistics()
        assert figures.total == self.at_first.total
        assert figures.used == sum(self.blocks.values())
        assert figures.free == figures.total - figures.used
        assert sum(self.allocator.free_in(entry) for entry in MAP) == figures.free


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_buddies_merge_up_to_the_largest_order() -> None:
    allocator = FrameAllocator([MemoryRange(4 * MIB, 4 * MIB, MemoryKind.USABLE)])
    blocks = [allocator.allocate() for _ in range(1024)]
    assert sorted(blocks) == list(range(4 * MIB, 8 * MIB, PAGE_SIZE))
    with pytest.raises(OutOfMemory, match="no 4096 contiguous bytes"):
        allocator.allocate()
    for block in blocks[::2] + blocks[1::2]:
        allocator.free(block)
    assert allocator.allocate(MAX_ORDER) == 4 * MIB


def test_a_block_inside_a_larger_one_cannot_be_freed() -> None:
    allocator = FrameAllocator([MemoryRange(4 * MIB, 4 * MIB, MemoryKind.USABLE)])
    block = allocator.allocate(3)
    with pytest.raises(DoubleFree):
        allocator.free(block + PAGE_SIZE)
    assert allocator.is_allocated(block)
    assert not allocator.is_allocated(block + PAGE_SIZE)


@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 16)), max_size=8), st.integers(0, 3000), st.integers(1, 9000))
@settings(deadline=None)
def test_reserved_frames_are_never_handed_out(reserved: list[tuple[int, int]], offset: int, size: int) -> None:
    base = 2 * MIB + offset
    taken = [(2 * MIB + at * 1000, length * 1000) for at, length in reserved]
    allocator = FrameAllocator([MemoryRange(base, size * 10, MemoryKind.USABLE)], taken)
    for _ in range(allocator.statistics().free // PAGE_SIZE):
        frame = allocator.allocate()
        assert base <= frame and frame + PAGE_SIZE <= base + size * 10
        assert all(frame + PAGE_SIZE <= start or start + length <= frame for start, length in taken if length)
    with pytest.raises(OutOfMemory):
        allocator.allocate()
