"""Address spaces: four-level page tables in guest frames.

The lower half belongs to the task; the upper 256 root entries are the nucleus's, shared by all. A page is never writable and executable at
once, page 0 is never mapped, and every access the kernel makes for a task goes through the same tables as the task's own.
Source: Intel SDM volume 3, 4.5 "4-Level Paging".
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntFlag

from kernel.errors import KernelError, MappingError, UserFault
from kernel.hardware import PAGE_SIZE, PhysicalMemory
from kernel.memory.frames import FrameAllocator

PRESENT, WRITABLE, USER, LARGE, NO_EXECUTE = 1 << 0, 1 << 1, 1 << 2, 1 << 7, 1 << 63
ADDRESS_MASK = 0x000F_FFFF_FFFF_F000
LEVELS = 4
ENTRIES, HALF = 512, 256
ENTRY_SIZE = 8
USER_START, USER_END = PAGE_SIZE, 1 << 47


class Access(IntFlag):
    """What a task may do with a page; every mapped page can be read."""

    READ = 0
    WRITE = 1
    EXECUTE = 2


class AddressSpace:
    """One task's view of memory.

    Attributes:
        root: physical address of the root table, for CR3.
        generation: grows when a mapping is withdrawn or changed: CPUs that have seen an older one must flush their TLB.
    """

    def __init__(self, memory: PhysicalMemory, frames: FrameAllocator, nucleus_root: int) -> None:
        self.memory, self.frames = memory, frames
        self.generation = 0
        self._pages: dict[int, int] = {}            # owned: virtual page -> physical frame
        self._tables: list[int] = []
        upper = memory.read(nucleus_root + HALF * ENTRY_SIZE, (ENTRIES - HALF) * ENTRY_SIZE)
        self.root = 0
        try:
            self.root = self._new_table()
            memory.write(self.root + HALF * ENTRY_SIZE, upper)
        except KernelError:
            self.destroy()
            raise

    @property
    def size(self) -> int:
        """Bytes of memory held: pages and tables."""
        return (len(self._pages) + len(self._tables)) * PAGE_SIZE

    def allocate(self, virtual: int, length: int, access: Access) -> None:
        """Map fresh zeroed frames over [virtual, virtual+length), page aligned. Raises: MappingError, OutOfMemory."""
        check_range(virtual, length)
        check_access(access)
        pages = range(virtual, virtual + length, PAGE_SIZE)
        taken = next((page for page in pages if page in self._pages), None)
        if taken is not None:
            raise MappingError(f"{taken:#x} is mapped already")
        for page in pages:
            frame = self.frames.allocate()
            self._pages[page] = frame               # owned from here on, whatever happens next
            self.memory.write(frame, bytes(PAGE_SIZE))
            self._set(page, frame | flags_of(access))

    def unmap(self, virtual: int, length: int) -> None:
        """Withdraw and free owned pages. Raises: MappingError."""
        self._owned(virtual, length)
        for page in range(virtual, virtual + length, PAGE_SIZE):
            self._set(page, 0)
            self.frames.free(self._pages.pop(page))
        self.generation += 1

    def protect(self, virtual: int, length: int, access: Access) -> None:
        """Change what may be done with owned pages. Raises: MappingError."""
        check_access(access)
        self._owned(virtual, length)
        for page in range(virtual, virtual + length, PAGE_SIZE):
            self._set(page, self._pages[page] | flags_of(access))
        self.generation += 1

    def destroy(self) -> None:
        """Give every frame back; the address space must not be loaded on any CPU."""
        for frame in (*self._pages.values(), *self._tables):
            self.frames.free(frame)
        self._pages.clear()
        self._tables.clear()
        self.root = 0

    def translate(self, virtual: int) -> tuple[int, Access] | None:
        """Walk the tables as a CPU in ring 3 would: physical address and rights, or None for a page fault."""
        if not 0 <= virtual < USER_END:
            return None
        table, writable, executable = self.root, True, True
        for level in reversed(range(LEVELS)):
            entry = self.memory.read_u64(table + index_of(virtual, level) * ENTRY_SIZE)
            if entry & (PRESENT | USER) != PRESENT | USER:
                return None
            writable &= bool(entry & WRITABLE)
            executable &= not entry & NO_EXECUTE
            table = entry & ADDRESS_MASK
        access = (Access.WRITE if writable else Access.READ) | (Access.EXECUTE if executable else Access.READ)
        return table | virtual % PAGE_SIZE, access

    def read_user(self, virtual: int, length: int) -> bytes:
        """What the task would read at a pointer of its own. Raises: UserFault."""
        return b"".join(self.memory.read(physical, size) for physical, size in self._user_pieces(virtual, length, Access.READ))

    def write_user(self, virtual: int, data: bytes) -> None:
        """Store where the task itself could store; nothing is written unless all can be. Raises: UserFault."""
        offset = 0
        for physical, size in list(self._user_pieces(virtual, len(data), Access.WRITE)):
            self.memory.write(physical, data[offset:offset + size])
            offset += size

    def write_owned(self, virtual: int, data: bytes) -> None:
        """Fill owned pages whatever their rights: for a loader. Raises: MappingError."""
        offset = 0
        while offset < len(data):
            page = (virtual + offset) & -PAGE_SIZE
            within = virtual + offset - page
            piece = data[offset:offset + PAGE_SIZE - within]
            if page not in self._pages:
                raise MappingError(f"{page:#x} is not mapped")
            self.memory.write(self._pages[page] + within, piece)
            offset += len(piece)

    def _user_pieces(self, virtual: int, length: int, need: Access) -> Iterator[tuple[int, int]]:
        if length < 0 or not USER_START <= virtual <= USER_END - length:
            raise UserFault(f"{length} bytes at {virtual:#x} are not in the lower half")
        while length:
            size = min(length, PAGE_SIZE - virtual % PAGE_SIZE)
            found = self.translate(virtual)
            if found is None or need & ~found[1]:
                raise UserFault(f"{virtual:#x} is not {'writable' if need else 'mapped'} for this task")
            yield found[0], size
            virtual, length = virtual + size, length - size

    def _owned(self, virtual: int, length: int) -> None:
        check_range(virtual, length)
        for page in range(virtual, virtual + length, PAGE_SIZE):
            if page not in self._pages:
                raise MappingError(f"{page:#x} is not mapped")

    def _set(self, virtual: int, entry: int) -> None:
        table = self.root
        for level in reversed(range(1, LEVELS)):
            slot = table + index_of(virtual, level) * ENTRY_SIZE
            below = self.memory.read_u64(slot)
            if not below & PRESENT:
                below = self._new_table() | PRESENT | WRITABLE | USER      # the leaf alone restricts
                self.memory.write_u64(slot, below)
            table = below & ADDRESS_MASK
        self.memory.write_u64(table + index_of(virtual, 0) * ENTRY_SIZE, entry)

    def _new_table(self) -> int:
        table = self.frames.allocate()
        self._tables.append(table)
        self.memory.write(table, bytes(PAGE_SIZE))
        return table


def flags_of(access: Access) -> int:
    """The bits of a leaf entry for a user page."""
    return PRESENT | USER | (WRITABLE if access & Access.WRITE else 0) | (0 if access & Access.EXECUTE else NO_EXECUTE)


def check_access(access: Access) -> None:
    """W^X. Raises: MappingError."""
    if access & Access.WRITE and access & Access.EXECUTE:
        raise MappingError("a page may be writable or executable, not both")


def check_range(virtual: int, length: int) -> None:
    """Whole pages of the lower half, without page 0. Raises: MappingError."""
    if virtual % PAGE_SIZE or length % PAGE_SIZE or length <= 0:
        raise MappingError(f"{virtual:#x}+{length:#x} is not whole pages")
    if not USER_START <= virtual <= USER_END - length:
        raise MappingError(f"{virtual:#x}+{length:#x} is not in the lower half")


def index_of(virtual: int, level: int) -> int:
    """The index into the table of a level, 0 = the leaf's."""
    return virtual >> 12 + 9 * level & ENTRIES - 1


def nucleus_tables(memory: PhysicalMemory, root: int) -> set[int]:
    """Every frame that holds a page table below the upper half of `root`: they must never be handed out.

    Raises:
        KernelError: the tables lead outside RAM or do not end.
    """
    tables, pending = {root}, [(root, LEVELS - 1)]
    while pending:
        table, level = pending.pop()
        raw = memory.read(table, PAGE_SIZE)
        first = HALF if level == LEVELS - 1 else 0
        for index in range(first, ENTRIES):
            entry = int.from_bytes(raw[index * ENTRY_SIZE:(index + 1) * ENTRY_SIZE], "little")
            below = entry & ADDRESS_MASK
            if level and entry & PRESENT and not (level < LEVELS - 1 and entry & LARGE) and below not in tables:
                tables.add(below)
                pending.append((below, level - 1))
        if len(tables) > 4096:
            raise KernelError(f"the nucleus's page tables at {root:#x} do not end")
    return tables
