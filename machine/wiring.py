"""The board's wires: what lies between chips and is no chip itself.

Each class is one thing that a circuit diagram of a Q35 board would show: the local APICs behind one address, the way of DMA, the multiplexer of HPET's legacy
replacement, windows that software moves, the cable at COM1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from devices.apic_bus import MSI_WINDOW, MSI_WINDOW_SIZE, ApicBus
from devices.core.bus import Bus, BusDevice, BusOverlap
from devices.core.dma import DmaFault
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.lapic import Lapic
from devices.uart16550 import SerialPeer
from machine.memory import GuestMemory


class Processors(Protocol):
    """What the board needs of the engine."""

    current: int

    @property
    def vcpus(self) -> list[Any]: ...


class BoardDma:
    """A device's way to memory while there is no IOMMU: addresses are the guest's physical ones, and 0xFEExxxxx is the interrupt window."""

    def __init__(self, memory: GuestMemory, apics: ApicBus) -> None:
        self._memory, self._apics = memory, apics
        self.trace: Callable[[bool, int, int], None] | None = None     # told of each transfer: (is it a write, address, bytes)

    def read(self, iova: int, length: int) -> bytes:
        """Bytes of RAM. Raises DmaFault."""
        if self.trace is not None:
            self.trace(False, iova, length)
        if not self._memory.is_ram(iova, length):
            raise DmaFault(iova, f"{length} bytes there are not RAM")
        return self._memory.read(iova, length)

    def write(self, iova: int, data: bytes) -> None:
        """Bytes to RAM, or a message-signalled interrupt. Raises DmaFault."""
        if self.trace is not None:
            self.trace(True, iova, len(data))
        if MSI_WINDOW <= iova < MSI_WINDOW + MSI_WINDOW_SIZE and len(data) == 4:
            self._apics.deliver_msi(iova, int.from_bytes(data, "little"))
        elif self._memory.is_ram(iova, len(data)):
            self._memory.write(iova, data)
        else:
            raise DmaFault(iova, f"{len(data)} bytes there are not RAM")


class LocalApics:
    """The local APICs behind one address: each processor reaches its own."""

    def __init__(self, processors: Processors, lapics: list[Lapic]) -> None:
        self._processors = processors
        self._blocks = [lapic.blocks["registers"] for lapic in lapics]

    def read(self, offset: int, size: int) -> int:
        """Of the processor that runs."""
        return self._blocks[self._processors.current].read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Of the processor that runs."""
        self._blocks[self._processors.current].write(offset, size, value)

    def peek(self, offset: int, size: int) -> int:
        """Of the processor that runs or ran last."""
        return self._blocks[self._processors.current].peek(offset, size)


class Multiplexer:
    """Two sources of one interrupt line, of which one is connected: HPET's legacy replacement (HPET 1.0a, 2.2.2.1) takes IRQ 0 and IRQ 8 from their chips.

    Attributes:
        usual, instead: the two inputs.
    """

    def __init__(self, output: IrqLine) -> None:
        self._output = output
        self._replaced = False
        self.usual = IrqLine(self._follow, f"{output.name} of its chip")
        self.instead = IrqLine(self._follow, f"{output.name} of the HPET")

    def select(self, replaced: bool) -> None:
        """Connect `instead`, or `usual` again; the output takes that one's level."""
        self._replaced = replaced
        self._follow(False)

    def _follow(self, _level: bool) -> None:
        self._output.set((self.instead if self._replaced else self.usual).level)


class Window:
    """Where a device is that software can move. Where something else is already it answers nowhere, which is noted.

    Args:
        bus: what it moves on.
        device: what answers.
        name: of the region.
        log: told of windows that cannot be.
        floor: the lowest address that is not RAM.
    """

    def __init__(self, bus: Bus, device: BusDevice, name: str, log: AccessLog, floor: int = 0) -> None:
        self._bus, self._device, self._name, self._log, self._floor = bus, device, name, log, floor
        self._base: int | None = None

    def move(self, place: tuple[int, int] | None) -> None:
        """To (base, length), or away."""
        if self._base is not None:
            self._bus.unmap(self._base)
            self._base = None
        if place is None:
            return
        base, length = place
        if base >= self._floor:
            with contextlib.suppress(BusOverlap, ValueError):
                self._bus.map(base, length, self._device, self._name)
                self._base = base
        if self._base is None:
            self._log.note(self._name, "", "put where something else is, or nothing can be", base=base)


class Cable(SerialPeer):
    """The other end of COM1: whatever the board's owner connects."""

    def __init__(self, receiver: Callable[[bytes], None]) -> None:
        self._receiver = receiver

    def transmit(self, data: bytes) -> None:
        """On to whoever is connected."""
        self._receiver(data)
