"""Guest-physical memory: RAM, ROM and the one path by which the host writes either.

Layout of the q35 board: RAM from 0 with the VGA hole at 0xA0000-0xBFFFF, up to 0xB0000000 at most; PCI configuration, devices and firmware
above that; the rest of the RAM from 4 GiB. The map's limit is the 40 physical address bits that CPUID reports.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from machine.errors import MachineError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PAGE = 4096
VGA_HOLE, VGA_HOLE_END = 0xA0000, 0xC0000
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


@dataclass(frozen=True, slots=True)
class E820Entry:
    """A range of the memory map that firmware and kernels are told (ACPI 6.5 section 15)."""

    base: int
    length: int
    kind: int


class GuestMemory:
    """RAM of `size` bytes and the ROMs of a board.

    Args:
        size: bytes of RAM, a multiple of 4 KiB, 2 MiB..64 GiB.
        roms: (base, image) pairs above the low RAM; each image is padded to whole pages at its front.
    """

    def __init__(self, size: int, roms: tuple[tuple[int, bytes], ...] = ()) -> None:
        if size % PAGE or not MIN_RAM <= size <= MAX_RAM:
            raise MachineError(f"{size} bytes of memory: give whole pages from {MIN_RAM // MIB} MiB to {MAX_RAM // GIB} GiB")
        self.size = size
        self.low_size = min(size, LOW_RAM_LIMIT)
        self.rom_writes = 0
        self.invalidate: Callable[[int, int], None] | None = None    # the engine's: (host address, length) was written from outside
        self._ram = self._allocate(size)
        self._host = host = ctypes.addressof(ctypes.c_char.from_buffer(self._ram))
        self._image: weakref.ref[RamImage] | None = None       # what the RAM is a private view of
        whole = memoryview(self._ram)
        pieces = [(0, VGA_HOLE, 0), (VGA_HOLE_END, self.low_size - VGA_HOLE_END, VGA_HOLE_END)]
        if size > self.low_size:
            pieces.append((HIGH_RAM_BASE, size - self.low_size, self.low_size))
        mappings = [Mapping(base, length, host + offset, True, whole[offset : offset + length]) for base, length, offset in pieces]
        self._roms = []
        for base, image in roms:
            store = mmap.mmap(-1, len(image))
            store[:] = image
            self._roms.append(store)
            mappings.append(Mapping(base, len(image), ctypes.addressof(ctypes.c_char.from_buffer(store)), False, memoryview(store)))
        self.mappings = sorted(mappings, key=lambda mapping: mapping.base)
        self._order = sorted(self.mappings, key=lambda mapping: -mapping.length)

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
        """Bytes of RAM or ROM; where nothing is mapped the bus floats, so those read 0xFF."""
        for mapping in self._order:
            offset = address - mapping.base
            if 0 <= offset and offset + length <= mapping.length:
                return bytes(mapping.view[offset : offset + length])
        return b"".join(piece if piece is not None else b"\xff" * size for piece, size in self._split(address, length))

    def write(self, address: int, data: bytes) -> None:
        """Writes RAM and drops translated code there. Bytes for ROM or for holes are lost, as they are on a bus."""
        length = len(data)
        for mapping in self._order:
            offset = address - mapping.base
            if 0 <= offset and offset + length <= mapping.length:
                self._store(mapping, offset, data)
                return
        for mapping in self.mappings:
            start, end = max(address, mapping.base), min(address + length, mapping.base + mapping.length)
            if start < end:
                self._store(mapping, start - mapping.base, data[start - address : end - address])

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
                for mapping in self.mappings:
                    if mapping.writable:
                        flags = os.pread(pagemap.fileno(), mapping.length // PAGE * 8, mapping.host // PAGE * 8)[7::8]
                        if len(flags) * PAGE != mapping.length:
                            return None
                        runs += [(mapping.host + run.start() * PAGE, (run.end() - run.start()) * PAGE) for run in WRITTEN_PAGES.finditer(flags)]
        except OSError:                                  # a host that keeps it to itself
            return None
        return runs

    def is_ram(self, address: int, length: int) -> bool:
        """Whether the whole range is RAM in one piece."""
        return any(mapping.writable and mapping.base <= address and address + length <= mapping.base + mapping.length for mapping in self._order)

    def is_mapped(self, address: int, length: int) -> bool:
        """Whether the whole range is RAM or ROM in one piece."""
        return any(mapping.base <= address and address + length <= mapping.base + mapping.length for mapping in self._order)

    def _store(self, mapping: Mapping, offset: int, data: bytes) -> None:
        if not mapping.writable:
            self.rom_writes += 1
            return
        mapping.view[offset : offset + len(data)] = data
        if self.invalidate is not None and data:
            self.invalidate(mapping.host + offset, len(data))

    def _split(self, address: int, length: int) -> list[tuple[bytes | None, int]]:
        pieces: list[tuple[bytes | None, int]] = []
        end = address + length
        while address < end:
            inside = next((m for m in self.mappings if m.base <= address < m.base + m.length), None)
            if inside is not None:
                stop = min(end, inside.base + inside.length)
                pieces.append((bytes(inside.view[address - inside.base : stop - inside.base]), stop - address))
            else:
                stop = min([m.base for m in self.mappings if m.base > address] + [end])
                stop = min(stop, end)
                pieces.append((None, stop - address))
            address = stop
        return pieces
