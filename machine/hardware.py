"""The machine as a driver sees it: what `folkering.py` hands to the kernel (the Protocol of kernel/hardware.py, by structure).

Accesses go the way a guest's own go: ports and registers over the buses, memory through the one write path.
"""

from __future__ import annotations

from collections.abc import Callable

from devices.core.bus import Bus
from machine.errors import MachineError
from machine.memory import GuestMemory

GATE_SIZE = 4
ALL_ONES = 0xFFFFFFFF


class NotRam(MachineError):
    """A kernel touched memory that is not there."""


class _Gate:
    """The port at which guest code calls: 32-bit accesses only, anything else answers like an empty port."""

    def __init__(self, enter: Callable[[int], None], identify: int) -> None:
        self._enter, self._identify = enter, identify

    def read(self, offset: int, size: int) -> int:
        return self.peek(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == GATE_SIZE:
            self._enter(value)

    def peek(self, offset: int, size: int) -> int:
        return self._identify if offset == 0 and size == GATE_SIZE else ALL_ONES >> 8 * (4 - min(size, 4))


class HardwarePort:
    """Ports, registers, memory, the gate, and a way to be woken."""

    def __init__(self, ports: Bus, mmio: Bus, memory: GuestMemory, wake: Callable[[], None]) -> None:
        self.port_read = ports.read
        self.port_write = ports.write
        self.mmio_read = mmio.read
        self.mmio_write = mmio.write
        self.wake = wake
        self._ports, self._memory = ports, memory

    def memory_read(self, address: int, length: int) -> bytes:
        """Bytes of RAM or ROM. Raises NotRam elsewhere."""
        if not self._memory.is_mapped(address, length):
            raise NotRam(f"{length} bytes at {address:#x} are neither RAM nor ROM")
        return self._memory.read(address, length)

    def memory_write(self, address: int, data: bytes) -> None:
        """Write RAM. Raises NotRam elsewhere."""
        if not self._memory.is_ram(address, len(data)):
            raise NotRam(f"{len(data)} bytes at {address:#x} are not RAM")
        self._memory.write(address, data)

    def attach_gate(self, port: int, enter: Callable[[int], None], identify: int) -> None:
        """Call `enter(EAX)` at each 32-bit OUT to `port`; answer `identify` to each 32-bit IN. Raises BusOverlap."""
        self._ports.map(port, GATE_SIZE, _Gate(enter, identify), "kernel gate")
