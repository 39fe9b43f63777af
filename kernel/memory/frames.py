"""The frame allocator: a binary buddy system over the real memory map, orders 0 to 10 (4 KiB to 4 MiB).

Each usable range of the map is a region of its own, because buddies must not reach across a hole. Per region and order there is one table of
free blocks keyed by frame number, so finding a buddy, taking a block and detecting a double free are each one look-up.
Source: D. Knuth, The Art of Computer Programming, volume 1, section 2.5, "buddy system".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from kernel.boot_record import MemoryKind, MemoryRange
from kernel.errors import DoubleFree, OutOfMemory
from kernel.hardware import PAGE_SIZE

MAX_ORDER = 10
LOW_MEMORY_END = 0x100000       # below 1 MiB: firmware, trampolines and BIOS data live there; never handed out


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """Bytes in all, in use and free, and what the allocator has done."""

    total: int
    used: int
    free: int
    allocations: int
    frees: int
    failures: int
    largest_free: int


@dataclass(slots=True)
class Region:
    """One contiguous run of usable frames: `first` to `end`, frame numbers."""

    first: int
    end: int
    free_frames: int = 0
    free: list[dict[int, None]] = field(default_factory=lambda: [{} for _ in range(MAX_ORDER + 1)])

    def insert_run(self, first: int, end: int) -> None:
        """Make [first, end) free, as the largest aligned blocks that fit."""
        self.free_frames += end - first
        while first < end:
            order = min(MAX_ORDER, (end - first).bit_length() - 1, (first & -first).bit_length() - 1 if first else MAX_ORDER)
            self.free[order][first] = None
            first += 1 << order

    def take(self, order: int) -> int | None:
        """Remove a block of `order`, splitting a larger one if need be; None when there is none."""
        for larger in range(order, MAX_ORDER + 1):
            if self.free[larger]:
                frame, _ = self.free[larger].popitem()
                break
        else:
            return None
        while larger > order:
            larger -= 1
            self.free[larger][frame + (1 << larger)] = None     # keep the lower half, give back the upper
        self.free_frames -= 1 << order
        return frame

    def give(self, frame: int, order: int) -> None:
        """Return a block, merging it with its buddy as long as that is free too."""
        self.free_frames += 1 << order
        while order < MAX_ORDER:
            buddy = frame ^ (1 << order)
            if buddy not in self.free[order]:
                break
            del self.free[order][buddy]
            frame &= ~(1 << order)
            order += 1
        self.free[order][frame] = None


class FrameAllocator:
    """Hands out blocks of 2**order frames by physical address.

    Args:
        memory_map: the map of the boot record; only USABLE ranges above 1 MiB are used.
        reserved: (base, size) ranges in bytes that are in use already, wherever they lie.
    """

    def __init__(self, memory_map: Iterable[MemoryRange], reserved: Iterable[tuple[int, int]] = ()) -> None:
        self.map = tuple(sorted(memory_map, key=lambda entry: entry.base))
        self.regions: list[Region] = []
        self.allocations = self.frees = self.failures = 0
        self._order_of: dict[int, int] = {}     # allocated blocks: first frame -> order
        held = sorted((base // PAGE_SIZE, -(-(base + size) // PAGE_SIZE)) for base, size in reserved if size)
        for entry in self.map:
            if entry.kind is MemoryKind.USABLE:
                self._add(entry, held)
        self._firsts = [region.first for region in self.regions]
        self._total = sum(region.free_frames for region in self.regions)

    def _add(self, entry: MemoryRange, held: list[tuple[int, int]]) -> None:
        first, end = -(-max(entry.base, LOW_MEMORY_END) // PAGE_SIZE), entry.end // PAGE_SIZE
        if first >= end:
            return
        region = Region(first, end)
        for taken, until in held:
            if taken < end and until > first:
                region.insert_run(first, max(first, taken))
                first = max(first, min(until, end))
        region.insert_run(first, end)
        self.regions.append(region)

    def allocate(self, order: int = 0) -> int:
        """The physical address of 2**order free frames, aligned to their size. Raises: OutOfMemory."""
        assert 0 <= order <= MAX_ORDER, order
        for region in reversed(self.regions):               # high memory first: low memory is dear to devices
            frame = region.take(order)
            if frame is not None:
                self._order_of[frame] = order
                self.allocations += 1
                return frame * PAGE_SIZE
        self.failures += 1
        raise OutOfMemory(f"no {PAGE_SIZE << order} contiguous bytes of memory are free")

    def free(self, address: int) -> None:
        """Give back a block by the address `allocate` returned. Raises: DoubleFree."""
        frame, offset = divmod(address, PAGE_SIZE)
        order = self._order_of.pop(frame, None) if offset == 0 else None
        if order is None:
            raise DoubleFree(f"{address:#x} is freed, but it is not an allocated block")
        self.frees += 1
        self._region_of(frame).give(frame, order)

    def is_allocated(self, address: int) -> bool:
        """Whether `address` is the start of an allocated block."""
        return address % PAGE_SIZE == 0 and address // PAGE_SIZE in self._order_of

    def statistics(self) -> FrameStatistics:
        """Figures of the whole allocator, in bytes."""
        free = sum(region.free_frames for region in self.regions)
        largest = max((order for region in self.regions for order in range(MAX_ORDER + 1) if region.free[order]), default=None)
        return FrameStatistics(self._total * PAGE_SIZE, (self._total - free) * PAGE_SIZE, free * PAGE_SIZE, self.allocations,
                               self.frees, self.failures, 0 if largest is None else PAGE_SIZE << largest)

    def free_in(self, entry: MemoryRange) -> int:
        """Free bytes in one range of the memory map."""
        return PAGE_SIZE * sum(region.free_frames for region in self.regions
                               if entry.base <= region.first * PAGE_SIZE < entry.end)

    def _region_of(self, frame: int) -> Region:
        return self.regions[bisect_right(self._firsts, frame) - 1]
