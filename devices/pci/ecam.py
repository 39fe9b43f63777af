"""Configuration space in memory (ECAM): each function's registers in 4 KiB of their own.

Specification: PCI Express Base 3.0, 7.2.2 "PCI Express Enhanced Configuration Access Mechanism". Address bits 27-20 are the bus, 19-15 the device, 14-12 the
function, 11-0 the register. Functions of a conventional bus answer in the first 256 bytes; beyond, nobody does.
"""

from __future__ import annotations

from devices.pci.config_space import PciBus


class Ecam:
    """The window, a `BusDevice`: 1 MiB a bus. PCIEXBAR says where it is and how long (host_bridge.py)."""

    def __init__(self, bus: PciBus) -> None:
        self._bus = bus

    def read(self, offset: int, size: int) -> int:
        """A configuration read."""
        return self._bus.read(offset >> 20, offset >> 12 & 0xFF, offset & 0xFFF, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """A configuration write."""
        self._bus.write(offset >> 20, offset >> 12 & 0xFF, offset & 0xFFF, size, value)

    def peek(self, offset: int, size: int) -> int:
        """As `read`, without side effects."""
        return self._bus.peek(offset >> 20, offset >> 12 & 0xFF, offset & 0xFFF, size)
