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
from devices.pci.config_space import PciFunction
from devices.uart16550 import SerialPeer
from machine.memory import GuestMemory


class Processors(Protocol):
    """What the board needs of the engine."""

    current: int

    @property
    def vcpus(self) -> list[Any]: ...

    def pass_a20(self, passed: bool) -> None: ...
    def lone_writes(self, place: tuple[int, int] | None) -> None: ...


class BoardDma:
    """A device's way to memory while there is no IOMMU: addresses are the guest's physical ones, and 0xFEExxxxx is the interrupt window.

    A segment below 1 MiB that is not both readable and writable is none of a device's business: the chipset "may hang" (Intel 3 Series data sheet, 5.1.18).

    Attributes:
        trace: told of each transfer: (is it a write, address, bytes, who sends). PCI functions send as their requester id, the board's own chips as None.
    """

    def __init__(self, memory: GuestMemory, apics: ApicBus) -> None:
        self._memory, self._apics = memory, apics
        self.trace: Callable[[bool, int, int, int | None], None] | None = None

    def read(self, iova: int, length: int, requester: int | None = None) -> bytes:
        """Bytes of RAM. Raises DmaFault."""
        if self.trace is not None:
            self.trace(False, iova, length, requester)
        if not self._memory.is_ram(iova, length):
            raise DmaFault(iova, f"{length} bytes there are not RAM")
        return self._memory.read(iova, length)

    def write(self, iova: int, data: bytes, requester: int | None = None) -> None:
        """Bytes to RAM, or a message-signalled interrupt. Raises DmaFault."""
        self.deliver(iova, data, requester)

    def deliver(self, iova: int, data: bytes, requester: int | None = None) -> bool:
        """As `write`. False: it was a message, and no local APIC took it."""
        if self.trace is not None:
            self.trace(True, iova, len(data), requester)
        if MSI_WINDOW <= iova < MSI_WINDOW + MSI_WINDOW_SIZE and len(data) == 4:
            return self._apics.deliver_msi(iova, int.from_bytes(data, "little"))
        if not self._memory.is_ram(iova, len(data)):
            raise DmaFault(iova, f"{len(data)} bytes there are not RAM")
        self._memory.write(iova, data)
        return True


class FunctionDma:
    """The DMA port of one PCI function: it says who sends, and lets nothing pass while the function is no bus master (PCI 3.0, 6.2.2), messages included.

    Args:
        dma: the board's.
        requester: bus << 8 | slot << 3 | function.
        name: of the function.
        log: told of what was refused, and of messages that nobody took.

    Attributes:
        function: whose port it is; the board sets it when the function is there.
    """

    def __init__(self, dma: BoardDma, requester: int, name: str, log: AccessLog) -> None:
        self._dma, self.requester, self._name, self._log = dma, requester, name, log
        self.function: PciFunction[Any] | None = None

    def read(self, iova: int, length: int) -> bytes:
        """Bytes of RAM. Raises DmaFault."""
        function = self._master(iova)
        try:
            return self._dma.read(iova, length, self.requester)
        except DmaFault:
            function.received_abort()
            raise

    def write(self, iova: int, data: bytes) -> None:
        """Bytes to RAM, or a message-signalled interrupt. Raises DmaFault."""
        function = self._master(iova)
        try:
            taken = self._dma.deliver(iova, data, self.requester)
        except DmaFault:
            function.received_abort()
            raise
        if not taken:
            self._log.note(self._name, "", "interrupt message that no local APIC takes", address=iova, data=int.from_bytes(data, "little"))

    def _master(self, iova: int) -> PciFunction[Any]:
        """The function, if it may send."""
        if self.function is None or not self.function.is_master:
            self._log.note(self._name, "COMMAND", "DMA refused: the function is no bus master", address=iova)
            raise DmaFault(iova, f"{self._name} is no bus master")
        return self.function


class LocalApics:
    """The local APICs behind one address: each processor reaches its own, unless its IA32_APIC_BASE has switched that off; then nothing is there."""

    def __init__(self, processors: Processors, lapics: list[Lapic]) -> None:
        self._processors, self._lapics = processors, lapics
        self._blocks = [lapic.blocks["registers"] for lapic in lapics]

    def read(self, offset: int, size: int) -> int:
        """Of the processor that runs."""
        cpu = self._processors.current
        return self._blocks[cpu].read(offset, size) if self._lapics[cpu].state.hardware_enabled else (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Of the processor that runs."""
        cpu = self._processors.current
        if self._lapics[cpu].state.hardware_enabled:
            self._blocks[cpu].write(offset, size, value)

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


class Windows:
    """Where devices are that software moves about on one bus: base addresses of PCI functions, the ACPI block, configuration space.

    Where something else is already, or RAM, a window answers nowhere, which is noted, until that has gone. Of two windows at one place the one that was made
    first answers; on a real bus both would, and damage what is read.

    Args:
        bus: what they move on.
        log: told of windows that cannot be.
        memory: what else is on the bus.
    """

    def __init__(self, bus: Bus, log: AccessLog, memory: GuestMemory | None = None) -> None:
        self._bus, self._log, self._memory = bus, log, memory
        self._windows: list[Window] = []

    def window(self, device: BusDevice, name: str) -> Window:
        """A window for `device`, which is nowhere yet. `name` is what the region is called."""
        made = Window(self, device, name)
        self._windows.append(made)
        return made

    def settle(self, moved: Window) -> None:
        """One of them has moved: work out which of them answer."""
        answered = [window for window in self._windows if window.answers_at is not None and window is not moved]
        for window in self._windows:
            if window.answers_at is not None:
                self._bus.unmap(window.answers_at)
                window.answers_at = None
        for window in self._windows:
            if window.place is not None and self._is_free(*window.place):
                with contextlib.suppress(BusOverlap, ValueError):
                    self._bus.map(*window.place, window.device, window.name)
                    window.answers_at = window.place[0]
        if moved.place is None:
            return
        if moved.answers_at is None:
            self._log.note(moved.name, "", "put where something else is, or nothing can be", base=moved.place[0])
        for window in answered:
            if window.answers_at is None:
                self._log.note(moved.name, "", f"put over {window.name}", base=moved.place[0])

    def _is_free(self, base: int, length: int) -> bool:
        """Whether neither RAM nor ROM is there."""
        return self._memory is None or not any(one.base < base + length and base < one.base + one.length for one in self._memory.mappings)


class Window:
    """Where a device is that software can move.

    Attributes:
        device, name: what answers, and what its region is called.
        place: (base, length) where software wants it, or None.
        answers_at: the base if it really answers there.
    """

    def __init__(self, windows: Windows, device: BusDevice, name: str) -> None:
        self._windows, self.device, self.name = windows, device, name
        self.place: tuple[int, int] | None = None
        self.answers_at: int | None = None

    def move(self, place: tuple[int, int] | None) -> None:
        """To (base, length), or away."""
        self.place = place
        self._windows.settle(self)


class Cable(SerialPeer):
    """The other end of COM1: whatever the board's owner connects."""

    def __init__(self, receiver: Callable[[bytes], None]) -> None:
        self._receiver = receiver

    def transmit(self, data: bytes) -> None:
        """On to whoever is connected."""
        self._receiver(data)
