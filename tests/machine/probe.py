"""A card for tests: every kind of base address, DMA, a pin, and MSI-X whose table shares a base address with registers."""

from __future__ import annotations

from dataclasses import dataclass, field

from devices.core.bus import BusDevice
from devices.core.dma import DmaFault
from devices.core.registers import RW, WO, Layout, Register
from devices.pci import msix
from devices.pci.card import Card, Slot
from devices.pci.config_space import Bar, HeaderState, PciFunction, header, layout
from devices.pci.msix import Msix

TABLE = 0x1000                              # of MSI-X, within BAR 2


@dataclass
class ProbeState(HeaderState):
    """A word, and what MSI-X's control register holds."""

    status: int = 0x10
    word: int = 0
    msix_control: int = 0
    echo: list[int] = field(default_factory=lambda: [0, 0])


class Probe(PciFunction[ProbeState]):
    """WORD at BAR 0; ECHO in I/O at BAR 1; at BAR 2, in 64 bits, WORD again and MSI-X's table.

    A write of an address to TRANSFER copies WORD to memory there, of 0 asserts the pin, of 1 releases it, of 2 sends vector 0.
    """

    NAME = "probe"
    BASES = (Bar(0, 0x1000), Bar(1, 0x20, io=True), Bar(2, 0x2000, wide=True, prefetchable=True))
    BLOCKS = (
        layout(*header(0x1234, 0x5678, 1, 0xFF0000, interrupt_pin=1, status=0x10, capabilities=0x40), *msix.capability(0x40, TABLE | 2, 1)),
        Layout("registers", 0x1000, (Register("WORD", 0, 4, RW), Register("TRANSFER", 4, 4, WO))),
        Layout("ports", 0x20, (Register("ECHO", 0, 4, RW, count=2, stride=4),)),
    )

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot.log, slot.name)
        self._dma = slot.dma
        self.msix = Msix(slot.log, slot.dma, f"{slot.name} msix")
        self.parts = (self.msix,)
        self._wide = Wide(self)

    def region(self, bar: Bar) -> BusDevice:
        return (self.blocks["registers"], self.blocks["ports"], self._wide)[bar.index]

    def on_TRANSFER(self, value: int) -> None:
        if value in (0, 1):
            self.interrupt(value == 0)
        elif value == 2:
            self.msix.notify(0)
        else:
            try:
                self._dma.write(value, self.state.word.to_bytes(4, "little"))
            except DmaFault as fault:
                self.log.note(self.name, "TRANSFER", fault.reason)

    def on_MSIX_CONTROL(self, value: int) -> None:
        self.msix.control(value)


class Wide:
    """BAR 2 of a probe."""

    def __init__(self, probe: Probe) -> None:
        self._parts = (probe.blocks["registers"], probe.msix.blocks["table"])

    def read(self, offset: int, size: int) -> int:
        return self._parts[offset // TABLE].read(offset % TABLE, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self._parts[offset // TABLE].write(offset % TABLE, size, value)

    def peek(self, offset: int, size: int) -> int:
        return self._parts[offset // TABLE].peek(offset % TABLE, size)


PROBE = Card("probe", Probe, "for tests")
