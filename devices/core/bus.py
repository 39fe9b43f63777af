"""An address space of devices: I/O ports or memory-mapped registers.

A device is told offsets and never where it lives. Where an access leads is worked out once per (address, size) and kept until the map changes, because a
guest uses few addresses very often: a repeated access costs one dictionary lookup on top of the device's own work.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from devices.core.log import AccessLog

ROUTES = 4096                    # routes kept; a guest that walks through a large region only makes them be forgotten


class BusDevice(Protocol):
    """What can be mapped. Offsets are bytes from the region's base; any size and offset must be answered."""

    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...
    def peek(self, offset: int, size: int) -> int: ...


class BusOverlap(ValueError):
    """Something is mapped there already."""


@dataclass(frozen=True, slots=True)
class Region:
    """One mapped device: `length` bytes from `base`. `exact` regions take only accesses of just their length at just their base."""

    base: int
    length: int
    device: BusDevice
    name: str
    exact: bool = False


class Bus:
    """One address space.

    Args:
        name: what logs call it ("port", "mmio").
        limit: the first address beyond it.
        log: told of accesses that lead nowhere.
    """

    def __init__(self, name: str, limit: int, log: AccessLog) -> None:
        self.name = name
        self.limit = limit
        self._log = log
        self._bases: list[int] = []
        self._regions: list[Region] = []                    # sorted by base, disjoint
        self._exact: dict[tuple[int, int], Region] = {}
        self._reads: dict[tuple[int, int], tuple[Callable[[int, int], int], int]] = {}
        self._writes: dict[tuple[int, int], tuple[Callable[[int, int, int], None], int]] = {}

    def map(self, base: int, length: int, device: BusDevice, name: str) -> None:
        """Let `device` answer `length` bytes from `base`.

        Raises:
            BusOverlap: part of it is taken.
            ValueError: it is empty or not within the bus.
        """
        if length <= 0 or base < 0 or base + length > self.limit:
            raise ValueError(f"{self.name} {base:#x}+{length:#x} ({name}) is not within 0..{self.limit:#x}")
        index = bisect.bisect_right(self._bases, base)
        for other in self._regions[max(index - 1, 0):index + 1]:
            if other.base < base + length and base < other.base + other.length:
                raise BusOverlap(f"{self.name} {base:#x}+{length:#x} ({name}) overlaps {other.name} at {other.base:#x}+{other.length:#x}")
        self._bases.insert(index, base)
        self._regions.insert(index, Region(base, length, device, name))
        self._forget()

    def map_exact(self, address: int, size: int, device: BusDevice, name: str) -> None:
        """Let `device` answer accesses of exactly `size` bytes at `address`, over whatever is mapped there for all others.

        That is how a byte at 0xCF9 reaches the reset register while a double word at 0xCF8 reaches PCI's CONFIG_ADDRESS.

        Raises:
            BusOverlap: such a place exists there already.
            ValueError: it is not within the bus.
        """
        if size <= 0 or address < 0 or address + size > self.limit:
            raise ValueError(f"{self.name} {address:#x}+{size:#x} ({name}) is not within 0..{self.limit:#x}")
        if (address, size) in self._exact:
            raise BusOverlap(f"{self.name} {address:#x} ({name}) is taken by {self._exact[address, size].name}")
        self._exact[address, size] = Region(address, size, device, name, exact=True)
        self._forget()

    def unmap(self, base: int) -> None:
        """Take away what `map` put at `base`. Raises KeyError if there is nothing."""
        index = bisect.bisect_left(self._bases, base)
        if index == len(self._bases) or self._bases[index] != base:
            raise KeyError(f"{self.name} {base:#x}: nothing is mapped there")
        del self._bases[index], self._regions[index]
        self._forget()

    def clear(self, log: AccessLog) -> None:
        """Take everything away, for other devices; `log` is told from now on."""
        self._log = log
        self._bases.clear()
        self._regions.clear()
        self._exact.clear()
        self._forget()

    def regions(self) -> list[Region]:
        """Everything mapped, by address; the exact ones last."""
        return [*self._regions, *self._exact.values()]

    def find(self, address: int) -> Region | None:
        """The region that covers `address`, exact ones aside."""
        index = bisect.bisect_right(self._bases, address) - 1
        if index >= 0:
            region = self._regions[index]
            if address < region.base + region.length:
                return region
        return None

    def read(self, address: int, size: int) -> int:
        """`size` bytes at `address`, little endian. Holes read all ones and are counted."""
        try:
            read, offset = self._reads[address, size]
        except KeyError:
            region = self._route(address, size)
            if region is None:
                return self._read_split(address, size)
            read, offset = self._reads[address, size] = region.device.read, address - region.base
        return read(offset, size)

    def write(self, address: int, size: int, value: int) -> None:
        """Store the low `size` bytes of `value` at `address`. Holes swallow them and are counted."""
        try:
            write, offset = self._writes[address, size]
        except KeyError:
            region = self._route(address, size)
            if region is None:
                self._write_split(address, size, value)
                return
            write, offset = self._writes[address, size] = region.device.write, address - region.base
        write(offset, size, value)

    def peek(self, address: int, size: int) -> int:
        """As `read`, without side effects and without counting."""
        region = self._route(address, size)
        if region is not None:
            return region.device.peek(address - region.base, size)
        value = 0
        for at, part, piece in self._pieces(address, size):
            answer = (1 << 8 * part) - 1 if piece is None else piece.device.peek(at - piece.base, part)
            value |= answer << 8 * (at - address)
        return value

    def _route(self, address: int, size: int) -> Region | None:
        """The one region that takes this access whole, None if there is none."""
        if len(self._reads) >= ROUTES or len(self._writes) >= ROUTES:
            self._forget()
        exact = self._exact.get((address, size))
        if exact is not None:
            return exact
        region = self.find(address)
        return region if region is not None and address + size <= region.base + region.length else None

    def _forget(self) -> None:
        self._reads.clear()
        self._writes.clear()

    def _pieces(self, address: int, size: int) -> list[tuple[int, int, Region | None]]:
        """An access that no region takes whole, as naturally aligned pieces that each lie in one region or in a hole."""
        pieces: list[tuple[int, int, Region | None]] = []
        at, end = address, address + size
        while at < end:
            region = self.find(at)
            if region is not None:
                stop = min(end, region.base + region.length)
            else:
                following = bisect.bisect_right(self._bases, at)
                stop = min(end, self._bases[following]) if following < len(self._bases) else end
            part = 8
            while at % part or at + part > stop:
                part //= 2
            pieces.append((at, part, region))
            at += part
        return pieces

    def _read_split(self, address: int, size: int) -> int:
        value = 0
        for at, part, region in self._pieces(address, size):
            if region is None:
                self._log.note(self.name, f"{at:#x}", "read, nothing there", size=part)
                answer = (1 << 8 * part) - 1
            else:
                answer = region.device.read(at - region.base, part)
            value |= answer << 8 * (at - address)
        return value

    def _write_split(self, address: int, size: int, value: int) -> None:
        for at, part, region in self._pieces(address, size):
            piece = value >> 8 * (at - address) & (1 << 8 * part) - 1
            if region is None:
                self._log.note(self.name, f"{at:#x}", "written, nothing there", size=part, value=piece)
            else:
                region.device.write(at - region.base, part, piece)
