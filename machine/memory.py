"""Guest-physical memory: RAM, ROM and the one path by which the host writes either.

Layout of the q35 board: RAM from 0 with the VGA hole at 0xA0000-0xBFFFF, up to 0xB0000000 at most; PCI configuration, devices and firmware
above that; the rest of the RAM from 4 GiB. The map's limit is the 40 physical address bits that CPUID reports.

0xC0000-0xFFFFF are 13 segments that the host bridge steers (Intel 3 Series data sheet 5.1.18-5.1.24, PAM0-PAM6): reads go to RAM or to the bus, where the
last 128 KiB of the firmware answer at 0xE0000 and nothing below that; writes go to RAM or are lost. All accesses follow it, the processors' and the host's;
copies of the RAM do not, so they hold what a ROM hides.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import mmap
import os
import re
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from machine.errors import MachineError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PAGE = 4096
VGA_HOLE, VGA_HOLE_END = 0xA0000, 0xC0000
SEGMENTS = (*((base, 0x4000) for base in range(0xC0000, 0xF0000, 0x4000)), (0xF0000, 0x10000))      # (base, length), as PAM1-PAM6 and then PAM0 have them
SEGMENTS_END = 0x100000
LEGACY_ROM = 128 * KIB               # of a firmware's end, seen below 1 MiB (ICH9 data sheet, "FWH Decode Enable": the E and F segments)
LOW_RAM_LIMIT = 0xB0000000
HIGH_RAM_BASE = 4 * GIB
PHYSICAL_LIMIT = 1 << 40
MIN_RAM, MAX_RAM = 2 * MIB, 64 * GIB
MAP_FIXED = 0x10
COPY_CHUNK = 256 * KIB               # pieces of RAM that are looked at and copied as a whole
PAGEMAP = "/proc/self/pagemap"       # 8 bytes a page; Linux, Documentation/admin-guide/mm/pagemap.rst
PAGEMAP_HELD, PAGEMAP_FILE = 0xC0, 0x20       # of the highest byte: present or swapped out; a page of the file itself
WRITTEN_PAGES = re.compile(rb"[%s]+" % re.escape(bytes(flags for flags in range(256) if flags & PAGEMAP_HELD and not flags & PAGEMAP_FILE)))
E820_RAM, E820_RESERVED, E820_ACPI, E820_NVS = 1, 2, 3, 4


class Closable(Protocol):
    """What must be closed."""

    def close(self) -> None: ...


class RamImage:
    """The contents of all RAM at one moment, in a file in memory that any number of machines can map, each with its own changes.

    Args:
        size: bytes.

    Attributes:
        spares: what is of use only together with these contents, and closed when they are gone.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.spares: list[Closable] = []
        self.fd = os.memfd_create("folkering-ram")
        os.ftruncate(self.fd, size)
        weakref.finalize(self, self._free, self.fd, self.spares).atexit = False

    @staticmethod
    def _free(fd: int, spares: list[Closable]) -> None:
        for spare in spares:
            spare.close()
        os.close(fd)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Fill in a piece; what is never filled in reads as zeros and takes no room."""
        if os.pwrite(self.fd, data, offset) != len(data):
            raise MachineError("the host has no memory left for a copy of the guest's")

    def pieces(self, length: int) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of every piece of `length` bytes that is not all zeros."""
        offset, zeros = 0, bytes(length)
        while offset < self.size:
            try:
                start = os.lseek(self.fd, offset, os.SEEK_DATA)
            except OSError:                              # no data from here on
                return
            offset = start // length * length
            data = os.pread(self.fd, length, offset)
            if data != zeros[:len(data)]:
                yield offset, data
            offset += length


@dataclass(frozen=True, slots=True)
class Mapping:
    """A piece of the guest's physical address space that is backed by host memory."""

    base: int
    length: int
    host: int                # host address of its first byte
    writable: bool
    view: memoryview


@dataclass(slots=True)
class Segment:
    """RAM and bus at one place below 1 MiB, and which of them answers."""

    ram: Mapping
    bus: Mapping                 # what a read finds there: ROM, or all ones
    readable: bool = True        # reads go to RAM
    writable: bool = True        # writes go to RAM

    @property
    def shown(self) -> Mapping:
        """What is read."""
        return self.ram if self.readable else self.bus


@dataclass(frozen=True, slots=True)
class E820Entry:
    """A range of the memory map that firmware and kernels are told (ACPI 6.5 section 15)."""

    base: int
    length: int
    kind: int


def rom_digest(roms: Iterable[tuple[int, bytes]]) -> str:
    """SHA-256 over the ROMs of a board, (base, image) each: what firmware it has."""
    whole = hashlib.sha256()
    for base, image in sorted(roms):
        whole.update(b"%d %d " % (base, len(image)) + image)
    return whole.hexdigest()


class GuestMemory:
    """RAM of `size` bytes and the ROMs of a board. The segments below 1 MiB are RAM until somebody steers them.

    Args:
        size: bytes of RAM, a multiple of 4 KiB, 2 MiB..64 GiB.
        roms: (base, image) pairs above the low RAM; each image is padded to whole pages at its front.

    Attributes:
        mappings: what is always the same, ascending.
        segments: what the host bridge steers, ascending.
        ram: all RAM, whether it is shown or not.
        invalidate: the engine's: (host address, length) of RAM was written from outside.
        steered: the engine's: a segment shows something else, or takes writes otherwise.
        rom_writes: stores that were lost because there is no RAM to take them.
    """

    def __init__(self, size: int, roms: tuple[tuple[int, bytes], ...] = ()) -> None:
        if size % PAGE or not MIN_RAM <= size <= MAX_RAM:
            raise MachineError(f"{size} bytes of memory: give whole pages from {MIN_RAM // MIB} MiB to {MAX_RAM // GIB} GiB")
        self.size = size
        self.low_size = min(size, LOW_RAM_LIMIT)
        self.rom_writes = 0
        self.invalidate: Callable[[int, int], None] | None = None
        self.steered: Callable[[Segment], None] | None = None
        self._ram = self._allocate(size)
        self._host = host = ctypes.addressof(ctypes.c_char.from_buffer(self._ram))
        self._image: weakref.ref[RamImage] | None = None       # what the RAM is a private view of
        whole = memoryview(self._ram)
        pieces = [(0, VGA_HOLE, 0), (SEGMENTS_END, self.low_size - SEGMENTS_END, SEGMENTS_END)]
        if size > self.low_size:
            pieces.append((HIGH_RAM_BASE, size - self.low_size, self.low_size))
        mappings = [Mapping(base, length, host + offset, True, whole[offset : offset + length]) for base, length, offset in pieces]
        mappings += [self._rom(base, image) for base, image in roms]
        self.mappings = sorted(mappings, key=lambda mapping: mapping.base)
        legacy = next((image[-LEGACY_ROM:] for base, image in roms if base + len(image) == HIGH_RAM_BASE), b"")
        bus = self._rom(VGA_HOLE_END, legacy.rjust(SEGMENTS_END - VGA_HOLE_END, b"\xff"))
        self.segments = []
        for base, length in SEGMENTS:
            at = base - bus.base
            self.segments.append(Segment(Mapping(base, length, host + base, True, whole[base : base + length]),
                                         Mapping(base, length, bus.host + at, False, bus.view[at : at + length])))
        self.ram = [mapping for mapping in mappings if mapping.writable] + [segment.ram for segment in self.segments]
        self._arrange()

    @functools.cached_property
    def rom_digest(self) -> str:
        """Which ROMs it has."""
        return rom_digest((mapping.base, bytes(mapping.view)) for mapping in self.mappings if not mapping.writable)

    @staticmethod
    def _rom(base: int, image: bytes) -> Mapping:
        """Host memory of its own, which lives as long as the view of it."""
        store = mmap.mmap(-1, len(image))
        store[:] = image
        return Mapping(base, len(image), ctypes.addressof(ctypes.c_char.from_buffer(store)), False, memoryview(store))

    def _arrange(self) -> None:
        """What is read and what takes writes, the largest first, because most accesses are there."""
        self._shown = sorted([*self.mappings, *(segment.shown for segment in self.segments)], key=lambda mapping: -mapping.length)
        self._taking = [mapping for mapping in self.mappings if mapping.writable] + [segment.ram for segment in self.segments if segment.writable]
        self._taking.sort(key=lambda mapping: -mapping.length)
        self._whole = [mapping for mapping in self._shown if mapping.writable and mapping in self._taking]

    def steer(self, number: int, readable: bool, writable: bool) -> None:
        """Where reads and writes of a segment go from now on: to RAM, or to the bus."""
        segment = self.segments[number]
        if (segment.readable, segment.writable) == (readable, writable):
            return
        segment.readable, segment.writable = readable, writable
        self._arrange()
        if self.steered is not None:
            self.steered(segment)

    @staticmethod
    def _allocate(size: int) -> mmap.mmap:
        """Private zero pages, huge where the host has them: a guest touches most of its RAM once, and clearing 4 KiB pages one by one costs."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        try:
            ram = mmap.mmap(-1, size, flags=flags)
        except OSError as error:
            raise MachineError(f"cannot reserve {size // MIB} MiB for the guest's memory: {error.strerror}") from None
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                ram.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass                    # a kernel without transparent huge pages
        return ram

    def regions(self) -> list[E820Entry]:
        """The memory map before anybody reserves anything: RAM, the BIOS area below 1 MiB, the PCI configuration window and the ROM."""
        entries = [E820Entry(0, 0x9FC00, E820_RAM), E820Entry(0x9FC00, 0x400, E820_RESERVED), E820Entry(0xF0000, 0x10000, E820_RESERVED),
                   E820Entry(MIB, self.low_size - MIB, E820_RAM), E820Entry(0xFEFFC000, 0x4000, E820_RESERVED)]
        entries += [E820Entry(rom.base, rom.length, E820_RESERVED) for rom in self.mappings if not rom.writable]
        if self.size > self.low_size:
            entries.append(E820Entry(HIGH_RAM_BASE, self.size - self.low_size, E820_RAM))
        return sorted(entries, key=lambda entry: entry.base)

    def read(self, address: int, length: int) -> bytes:
        """Bytes of RAM or ROM, as a processor reads them; where nothing is mapped the bus floats, so those read 0xFF."""
        for mapping in self._shown:
            offset = address - mapping.base
            if 0 <= offset and offset + length <= mapping.length:
                return bytes(mapping.view[offset : offset + length])
        data = bytearray(b"\xff" * length)
        for mapping in self._shown:
            start, end = max(address, mapping.base), min(address + length, mapping.base + mapping.length)
            if start < end:
                data[start - address : end - address] = mapping.view[start - mapping.base : end - mapping.base]
        return bytes(data)

    def write(self, address: int, data: bytes) -> None:
        """Writes RAM and drops translated code there. Bytes for ROM or for holes are lost, as they are on a bus; a write to ROM is counted."""
        length = len(data)
        for mapping in self._taking:
            offset = address - mapping.base
            if 0 <= offset and offset + length <= mapping.length:
                self._store(mapping, offset, data)
                return
        lost = length
        for mapping in self._taking:
            start, end = max(address, mapping.base), min(address + length, mapping.base + mapping.length)
            if start < end:
                self._store(mapping, start - mapping.base, data[start - address : end - address])
                lost -= end - start
        if lost and any(mapping.base < address + length and address < mapping.base + mapping.length for mapping in self._shown):
            self.rom_writes += 1

    # --- copies --------------------------------------------------------------------------------------------------------------------
    def freeze(self) -> RamImage:
        """The RAM as it is now. The guest goes on with a private view of it, so that `adopt` can come back at no cost.

        Time grows with the RAM in use, but that of the same contents, frozen before, is the same image.
        """
        before = None if self._image is None else self._image()
        if before is not None and self._written() == []:
            return before
        image = RamImage(self.size)
        for offset, piece in self.pieces():
            image.write(offset, piece)
        self.adopt(image)
        return image

    def pieces(self) -> Iterator[tuple[int, memoryview]]:
        """(offset in RAM, bytes) of every piece of the RAM that is not all zeros."""
        whole, zeros = memoryview(self._ram), bytes(COPY_CHUNK)
        for offset in range(0, self.size, COPY_CHUNK):
            piece = whole[offset:offset + COPY_CHUNK]
            if piece != zeros[:len(piece)]:
                yield offset, piece

    def adopt(self, image: RamImage) -> list[tuple[int, int]] | None:
        """Make the RAM what `image` holds, at the same host addresses: one system call, whatever its size.

        Returns the (host address, bytes) of what this changes, in whole pages, for whoever remembers something of the contents; None if that may be everything.
        """
        changed = self._written() if self._image is not None and self._image() is image else None
        if image.size != self.size:
            raise MachineError(f"an image of {image.size // MIB} MiB does not fit a machine with {self.size // MIB} MiB")
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        flags = mmap.MAP_PRIVATE | MAP_FIXED | getattr(mmap, "MAP_NORESERVE", 0)
        mapped = libc.mmap(self._host, self.size, mmap.PROT_READ | mmap.PROT_WRITE, flags, image.fd, 0)
        if mapped != self._host:
            raise MachineError(f"cannot map the guest's memory: {os.strerror(ctypes.get_errno())}")
        self._image = weakref.ref(image)
        return changed

    def _written(self) -> list[tuple[int, int]] | None:
        """(host address, bytes) of the pages that were written since the RAM became a view of an image: the host's kernel has made copies of just those."""
        runs = []
        try:
            with open(PAGEMAP, "rb", buffering=0) as pagemap:
                for mapping in self.ram:
                    flags = os.pread(pagemap.fileno(), mapping.length // PAGE * 8, mapping.host // PAGE * 8)[7::8]
                    if len(flags) * PAGE != mapping.length:
                        return None
                    runs += [(mapping.host + run.start() * PAGE, (run.end() - run.start()) * PAGE) for run in WRITTEN_PAGES.finditer(flags)]
        except OSError:                                  # a host that keeps it to itself
            return None
        return runs

    def is_ram(self, address: int, length: int) -> bool:
        """Whether the whole range is RAM that can be read and written."""
        return self._covered(self._whole, address, length)

    def is_mapped(self, address: int, length: int) -> bool:
        """Whether the whole range is RAM or ROM."""
        return self._covered(self._shown, address, length)

    @staticmethod
    def _covered(mappings: list[Mapping], address: int, length: int) -> bool:
        end, found = address + length, True
        while found:
            found = False
            for mapping in mappings:
                if mapping.base <= address < mapping.base + mapping.length:
                    address, found = mapping.base + mapping.length, True
                    if address >= end:
                        return True
        return False

    def _store(self, mapping: Mapping, offset: int, data: bytes) -> None:
        mapping.view[offset : offset + len(data)] = data
        if self.invalidate is not None and data:
            self.invalidate(mapping.host + offset, len(data))
