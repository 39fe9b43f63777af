"""All that the kernel knows of the machine: ports, MMIO, guest memory, the gate and a way to be woken.

The machine hands an object of this shape to `kernel.kernel.Kernel`; nothing is imported from it. Guest-physical addresses throughout.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from kernel.errors import BadMemory

PAGE_SIZE = 4096
PHYSICAL_LIMIT = 1 << 52        # the architecture's widest physical address (Intel SDM volume 3, 4.1.4)

U16, U32, U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")


class Hardware(Protocol):
    """What a driver can do to the machine. Sizes are in bytes: 1, 2 or 4 at ports, up to 8 by MMIO."""

    def port_read(self, port: int, size: int) -> int:
        """Read `size` bytes at an I/O port, as IN does; an empty port answers all ones."""

    def port_write(self, port: int, size: int, value: int) -> None:
        """Write `size` bytes to an I/O port, as OUT does."""

    def mmio_read(self, address: int, size: int) -> int:
        """Read a device register at a physical address."""

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """Write a device register at a physical address."""

    def memory_read(self, address: int, length: int) -> bytes:
        """Read RAM or ROM; raises for anything else."""

    def memory_write(self, address: int, data: bytes) -> None:
        """Write RAM; raises for anything else."""

    def attach_gate(self, port: int, enter: Callable[[int], None], identify: int) -> None:
        """Call `enter(EAX)` at each 32-bit OUT to `port`; answer `identify` to each 32-bit IN."""

    def wake(self) -> None:
        """End an idle wait soon, so that the kernel's loop runs. Callable from any thread."""


class PhysicalMemory:
    """Guest RAM by physical address, with one kind of error for every address that is not RAM.

    Addresses come from guests, so each access is checked; the machine's own exception class cannot be named here.
    """

    def __init__(self, hardware: Hardware) -> None:
        self._read = hardware.memory_read
        self._write = hardware.memory_write

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at `address`. Raises: BadMemory."""
        if not 0 <= address <= PHYSICAL_LIMIT - length or length < 0:
            raise BadMemory(f"{length} bytes at {address:#x} are not guest RAM")
        try:
            data = self._read(address, length)
        except Exception as error:                       # the machine's class, unknown here by design
            raise BadMemory(f"{length} bytes at {address:#x} are not guest RAM") from error
        if len(data) != length:
            raise BadMemory(f"{length} bytes at {address:#x} are not all guest RAM")
        return bytes(data)

    def write(self, address: int, data: bytes) -> None:
        """Write `data` at `address`. Raises: BadMemory."""
        if not 0 <= address <= PHYSICAL_LIMIT - len(data):
            raise BadMemory(f"{len(data)} bytes at {address:#x} are not guest RAM")
        try:
            self._write(address, data)
        except Exception as error:                       # as above
            raise BadMemory(f"{len(data)} bytes at {address:#x} cannot be written") from error

    def read_u32(self, address: int) -> int:
        """The 32-bit value at `address`. Raises: BadMemory."""
        value: int = U32.unpack(self.read(address, 4))[0]
        return value

    def read_u64(self, address: int) -> int:
        """The 64-bit value at `address`. Raises: BadMemory."""
        value: int = U64.unpack(self.read(address, 8))[0]
        return value

    def write_u64(self, address: int, value: int) -> None:
        """Store a 64-bit value. Raises: BadMemory."""
        self.write(address, U64.pack(value))
