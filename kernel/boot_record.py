"""The boot record of the nucleus, and the Limine responses it points to, read from guest memory.

Sources: docs/contracts.md section 4; Limine boot protocol, "Memory Map Feature", "Module Feature". Everything here was written by guest code:
each pointer must lie in the direct map, each count has a limit, and what is wrong is said in one line (BootRecordError).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from kernel.errors import BadMemory, BootRecordError
from kernel.hardware import PAGE_SIZE, PHYSICAL_LIMIT, PhysicalMemory

MAGIC = b"FOLKBOOT"
VERSION = 1
MAX_CPUS = 256                          # xAPIC IDs are 8 bits
MAX_MEMORY_ENTRIES = 1024
MAX_MODULES = 64
MAX_STRING = 4096
MIN_TSC_HZ, MAX_TSC_HZ = 1_000_000, 100_000_000_000
HIGHER_HALF = 0xFFFF_8000_0000_0000
KERNEL_WINDOW = 0xFFFF_FFFF_8000_0000   # where the nucleus is linked


class MemoryKind(IntEnum):
    """Types of a Limine memory map entry."""

    USABLE = 0
    RESERVED = 1
    ACPI_RECLAIMABLE = 2
    ACPI_NVS = 3
    BAD_MEMORY = 4
    BOOTLOADER_RECLAIMABLE = 5
    EXECUTABLE_AND_MODULES = 6
    FRAMEBUFFER = 7

    @property
    def title(self) -> str:
        """The name as people read it."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """A range of the memory map: bytes, physical."""

    base: int
    size: int
    kind: MemoryKind

    @property
    def end(self) -> int:
        """The first byte after the range."""
        return self.base + self.size


@dataclass(frozen=True, slots=True)
class Module:
    """A file that the loader put into memory; `base` is physical."""

    path: str
    base: int
    size: int


@dataclass(frozen=True, slots=True)
class BootRecord:
    """What the nucleus says at HELLO. Addresses are physical unless the name says otherwise; rates in Hz."""

    hhdm: int
    rsdp: int
    kernel_phys: int
    kernel_virt: int
    kernel_size: int
    tsc_hz: int
    lapic_timer_hz: int
    cr3: int
    cpu_count: int
    cpu_areas: int
    cmdline: str
    bootloader: str
    memory_map: tuple[MemoryRange, ...]
    modules: tuple[Module, ...]

    @classmethod
    def read(cls, memory: PhysicalMemory, address: int) -> BootRecord:
        """Parse the record at a physical address. Raises: BootRecordError."""
        try:
            return _Reader(memory, address).record()
        except BadMemory as error:
            raise BootRecordError(f"boot record: {error}") from error


class _Reader:
    """Follows the pointers of one record."""

    LAYOUT = struct.Struct("<8s15Q")        # magic .. name: 0x00..0x7F

    def __init__(self, memory: PhysicalMemory, address: int) -> None:
        self.memory = memory
        magic, version, *self.words = self.LAYOUT.unpack(memory.read(address, self.LAYOUT.size))
        if magic != MAGIC:
            raise BootRecordError(f"boot record at {address:#x}: its magic is {magic!r}, not {MAGIC!r}")
        if version != VERSION:
            raise BootRecordError(f"boot record at {address:#x}: version {version}, this kernel reads {VERSION}")
        self.hhdm: int = self.words[0]
        self.kernel_phys: int
        self.kernel_virt: int
        self.kernel_size: int
        self.kernel_phys, self.kernel_virt, self.kernel_size = self.words[4:7]

    def record(self) -> BootRecord:
        hhdm, memmap, modules, rsdp, *_kernel, tsc_hz, timer_hz, cr3, cpus, areas, cmdline, name = self.words
        require(hhdm >= HIGHER_HALF and hhdm % PAGE_SIZE == 0, f"the direct map at {hhdm:#x} is not in the upper half")
        require(1 <= cpus <= MAX_CPUS, f"{cpus} CPUs, between 1 and {MAX_CPUS} are possible")
        require(MIN_TSC_HZ <= tsc_hz <= MAX_TSC_HZ, f"a TSC of {tsc_hz} Hz is implausible")
        require(0 < cr3 < PHYSICAL_LIMIT and cr3 % PAGE_SIZE == 0, f"page-table root {cr3:#x} is no page")
        require(areas % PAGE_SIZE == 0 and 0 < areas < (1 << 32) - cpus * PAGE_SIZE,
                f"the CPU areas at {areas:#x} are not pages below 4 GiB")
        require(rsdp < PHYSICAL_LIMIT, f"RSDP at {rsdp:#x} is no physical address")
        self.memory.read(areas, cpus * PAGE_SIZE)
        return BootRecord(
            hhdm=hhdm, rsdp=rsdp, kernel_phys=self.kernel_phys, kernel_virt=self.kernel_virt, kernel_size=self.kernel_size,
            tsc_hz=tsc_hz, lapic_timer_hz=timer_hz, cr3=cr3, cpu_count=cpus, cpu_areas=areas,
            cmdline=self.string(cmdline), bootloader=self.string(name),
            memory_map=self.memory_map(memmap), modules=self.modules(modules))

    def memory_map(self, response: int) -> tuple[MemoryRange, ...]:
        """Limine: {u64 revision, u64 entry_count, entry **entries}; entry: {u64 base, u64 length, u64 type}."""
        require(response != 0, "there is no memory map")
        ranges: list[MemoryRange] = []
        for pointer in self.pointers(response, MAX_MEMORY_ENTRIES, "memory map"):
            base, size, kind = struct.unpack("<3Q", self.read(pointer, 24))
            require(base + size <= PHYSICAL_LIMIT, f"memory map: {base:#x}+{size:#x} is beyond physical memory")
            known = kind in MemoryKind.__members__.values()
            ranges.append(MemoryRange(base, size, MemoryKind(kind) if known else MemoryKind.RESERVED))
        ranges.sort(key=lambda entry: entry.base)
        self.check_usable(ranges)
        return tuple(ranges)

    def check_usable(self, ranges: list[MemoryRange]) -> None:
        """Usable ranges are RAM at both ends and overlap nothing: what is not must never be handed out. `ranges` is in order of base."""
        taken = usable = 0                              # how far all ranges, and the usable ones, have reached
        for entry in ranges:
            if entry.kind is MemoryKind.USABLE:
                require(entry.size == 0 or entry.base >= taken, f"memory map: the usable range at {entry.base:#x} overlaps another")
                if entry.size:
                    self.memory.read(entry.base, 1)
                    self.memory.read(entry.end - 1, 1)
                usable = max(usable, entry.end)
            else:
                require(entry.size == 0 or entry.base >= usable, f"memory map: the range at {entry.base:#x} overlaps a usable one")
            taken = max(taken, entry.end)
        require(usable > 0, "memory map: no usable memory")

    def modules(self, response: int) -> tuple[Module, ...]:
        """Limine: {u64 revision, u64 module_count, file **modules}; file: {u64 revision, void *address, u64 size, char *path, ..}."""
        if response == 0:
            return ()
        found: list[Module] = []
        for pointer in self.pointers(response, MAX_MODULES, "modules"):
            _revision, address, size, path = struct.unpack("<4Q", self.read(pointer, 32))
            base = self.physical(address)
            if size:
                self.memory.read(base + size - 1, 1)
            found.append(Module(self.string(path), base, size))
        return tuple(found)

    def pointers(self, response: int, limit: int, name: str) -> tuple[int, ...]:
        _revision, count, array = struct.unpack("<3Q", self.read(response, 24))
        require(count <= limit, f"{name}: {count} entries, at most {limit} are possible")
        return struct.unpack(f"<{count}Q", self.read(array, 8 * count))

    def string(self, pointer: int) -> str:
        """The NUL-terminated text at a virtual address; empty for a null pointer."""
        text = bytearray()
        while pointer and len(text) < MAX_STRING:
            chunk = self.read(pointer, min(64, PAGE_SIZE - pointer % PAGE_SIZE))
            end = chunk.find(0)
            text += chunk if end < 0 else chunk[:end]
            if end >= 0:
                return text.decode("utf-8", "replace")
            pointer += len(chunk)
        require(not text, f"a string is longer than {MAX_STRING} bytes")
        return ""

    def read(self, virtual: int, length: int) -> bytes:
        return self.memory.read(self.physical(virtual), length)

    def physical(self, virtual: int) -> int:
        """Through the direct map, or through the window where the nucleus itself is linked."""
        inside = virtual - self.kernel_virt
        if virtual >= KERNEL_WINDOW and 0 <= inside < self.kernel_size:
            return self.kernel_phys + inside
        require(self.hhdm <= virtual < self.hhdm + (1 << 46), f"pointer {virtual:#x} is outside the direct map")
        return virtual - self.hhdm


def require(condition: bool, message: str) -> None:
    """Raise BootRecordError with `message` unless `condition` holds."""
    if not condition:
        raise BootRecordError(f"boot record: {message}")
