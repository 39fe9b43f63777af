"""The EDU device (1234:11e8): a PCI card for people who learn to write drivers, and for drivers that are tested.

Specification: QEMU, docs/specs/edu "EDU device". It tells that it is alive, computes factorials in the background, moves up to 4 KiB between memory and a
buffer of its own by DMA, and interrupts by INTA# or by one MSI message. Where the specification is silent:

- a factorial takes `FACTORIAL_TIME`, whatever the number, and is given modulo 2**32; a transfer takes `TRANSFER_TIME`, as on QEMU;
- addresses in memory have 28 bits, unless the card is made with more, and the rest is cut off, which is noted;
- a transfer that is not within the buffer moves nothing, which is noted, and ends;
- while the card computes, or transfers, writes to the registers that say what are dropped;
- a write of 4 bytes to a register of 8 clears the upper half; other sizes than 4, and 8 from 0x80 on, reach nothing and read all ones. So does the buffer,
  which only DMA reaches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from devices.core.bus import BusDevice
from devices.core.clock import Deadline, VirtualClock
from devices.core.dma import DmaFault, DmaPort
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, WO, Block, Field, Layout, Register
from devices.pci.config_space import Bar, PciFunction, header, layout
from devices.pci.msi import Msi, MsiState, capability

VENDOR, DEVICE, REVISION, CLASS_CODE = 0x1234, 0x11E8, 0x10, 0x00FF00          # class: a device from before there were classes, other than VGA
SUBSYSTEM = (0x1AF4, 0x1100)
CAPABILITIES, MSI_OFFSET = 0x0010, 0x40
SIZE = 1 << 20
WIDE_REGISTERS = 0x80                       # from here on registers have 8 bytes
BUFFER, BUFFER_SIZE = 0x40000, 4096
DMA_MASK = (1 << 28) - 1
FACTORIAL_TIME, TRANSFER_TIME = 10_000, 100_000_000     # ns
ZERO_FROM = 34                              # n! has 32 factors of 2 from here on

STATUS = Register("CARD_STATUS", 0x20, 4, RW, doc="of the factorial", fields=(
    Field("COMPUTING", 0, RO), Field("RSVD", (6, 1), RO), Field("INTERRUPT_WHEN_DONE", 7), Field("RSVD8", (31, 8), RO)))
COMMAND = Register("DMA_COMMAND", 0x98, 8, RW, doc="of the transfer", fields=(
    Field("START", 0, doc="and under way"), Field("TO_MEMORY", 1, doc="0: from memory to the card"), Field("INTERRUPT_WHEN_DONE", 2),
    Field("RSVD", (63, 3), RO)))
COMPUTING, INTERRUPT_WHEN_COMPUTED = STATUS["COMPUTING"].mask, STATUS["INTERRUPT_WHEN_DONE"].mask
START, TO_MEMORY, INTERRUPT_WHEN_MOVED = (COMMAND[name].mask for name in ("START", "TO_MEMORY", "INTERRUPT_WHEN_DONE"))
FACTORIAL_DONE, TRANSFER_DONE = 0x001, 0x100            # bits of INTERRUPT_STATUS


@dataclass
class State(MsiState):
    """Registers, the buffer, and when what is under way ends: ns, -1 for nothing."""

    status: int = CAPABILITIES
    liveness: int = 0
    factorial: int = 0
    card_status: int = 0
    interrupt_status: int = 0
    dma_source: int = 0
    dma_destination: int = 0
    dma_count: int = 0
    dma_command: int = 0
    buffer: bytearray = field(default_factory=lambda: bytearray(BUFFER_SIZE))
    computed_at: int = -1
    moved_at: int = -1


class Edu(PciFunction[State]):
    """The card's function.

    Args:
        clock: virtual time.
        dma: its own port.
        log: told of a guest's mistakes.
        dma_mask: the bits of a memory address that it has.
    """

    NAME = "edu"
    BASES = (Bar(0, SIZE),)
    BLOCKS = (
        layout(*header(VENDOR, DEVICE, REVISION, CLASS_CODE, interrupt_pin=1, subsystem=SUBSYSTEM, status=CAPABILITIES, capabilities=MSI_OFFSET),
               *capability(MSI_OFFSET, 1)),
        Layout("registers", SIZE, (
            Register("IDENTIFICATION", 0x00, 4, RO, 0x010000ED, (Field("EDU", (7, 0)), Field("MINOR", (23, 16)), Field("MAJOR", (31, 24))), "which version"),
            Register("LIVENESS", 0x04, 4, RW, doc="reads the inverse of what was written"),
            Register("FACTORIAL", 0x08, 4, RW, doc="a number; then its factorial"),
            STATUS,
            Register("INTERRUPT_STATUS", 0x24, 4, RO, doc="values that were raised and not acknowledged"),
            Register("INTERRUPT_RAISE", 0x60, 4, WO, doc="adds to INTERRUPT_STATUS"),
            Register("INTERRUPT_ACKNOWLEDGE", 0x64, 4, WO, doc="takes from INTERRUPT_STATUS"),
            Register("DMA_SOURCE", 0x80, 8, RW), Register("DMA_DESTINATION", 0x88, 8, RW), Register("DMA_COUNT", 0x90, 8, RW, doc="bytes"),
            COMMAND,
        ), hole=0xFF),
    )

    def __init__(self, clock: VirtualClock, dma: DmaPort, log: AccessLog, name: str = "", dma_mask: int = DMA_MASK) -> None:
        super().__init__(log, name)
        self._clock, self._dma, self._dma_mask = clock, dma, dma_mask
        self._msi = Msi(self, dma)
        self._sizes = _Sizes(self.blocks["registers"], log)
        self._deadlines: list[Deadline] = []

    def region(self, bar: Bar) -> BusDevice:
        """The one base address."""
        return self._sizes

    # --- factorial ---------------------------------------------------------------------------------------------------------------------------
    def on_LIVENESS(self, value: int) -> None:
        self.state.liveness = ~value & 0xFFFFFFFF

    def on_FACTORIAL(self, _value: int, old: int) -> None:
        state = self.state
        if state.card_status & COMPUTING:
            state.factorial = old
            return
        state.card_status |= COMPUTING
        state.computed_at = self._clock.now() + FACTORIAL_TIME
        self._arm()

    def _computed(self) -> None:
        state = self.state
        state.factorial = math.factorial(min(state.factorial, ZERO_FROM)) & 0xFFFFFFFF
        state.card_status &= ~COMPUTING
        state.computed_at = -1
        if state.card_status & INTERRUPT_WHEN_COMPUTED:
            self._raise(FACTORIAL_DONE)

    # --- interrupts --------------------------------------------------------------------------------------------------------------------------
    def on_INTERRUPT_RAISE(self, value: int) -> None:
        self._raise(value)

    def on_INTERRUPT_ACKNOWLEDGE(self, value: int) -> None:
        self.state.interrupt_status &= ~value
        self._drive()

    def on_MSI_CONTROL(self, value: int) -> None:
        self._msi.control(value)
        self._drive()

    def _raise(self, value: int) -> None:
        self.state.interrupt_status |= value
        if self.state.interrupt_status:
            self._msi.notify(0)
        self._drive()

    def _drive(self) -> None:
        """The pin is asserted while something is not acknowledged, and not at all once messages are enabled (PCI 3.0, 6.8.3.3)."""
        self.interrupt(self.state.interrupt_status != 0 and not self._msi.enabled)

    # --- DMA ---------------------------------------------------------------------------------------------------------------------------------
    def on_DMA_SOURCE(self, _value: int, old: int) -> None:
        if self.state.dma_command & START:
            self.state.dma_source = old

    def on_DMA_DESTINATION(self, _value: int, old: int) -> None:
        if self.state.dma_command & START:
            self.state.dma_destination = old

    def on_DMA_COUNT(self, _value: int, old: int) -> None:
        if self.state.dma_command & START:
            self.state.dma_count = old

    def on_DMA_COMMAND(self, value: int, old: int) -> None:
        state = self.state
        if old & START:
            state.dma_command = old
        elif value & START:
            state.moved_at = self._clock.now() + TRANSFER_TIME
            self._arm()

    def _moved(self) -> None:
        """The time of the transfer is over: it happens."""
        state = self.state
        state.moved_at = -1
        state.dma_command &= ~START
        inside, outside = (state.dma_source, state.dma_destination) if state.dma_command & TO_MEMORY else (state.dma_destination, state.dma_source)
        start, end = inside - BUFFER, inside - BUFFER + state.dma_count
        address = outside & self._dma_mask
        if address != outside:
            register = "DMA_DESTINATION" if state.dma_command & TO_MEMORY else "DMA_SOURCE"
            self.log.note(self.name, register, "beyond the card's address bits, cut off", address=outside)
        if not 0 <= start <= end <= BUFFER_SIZE:
            self.log.note(self.name, "DMA_COUNT", "not within the buffer, nothing is moved", at=inside, bytes=state.dma_count)
        else:
            try:
                if state.dma_command & TO_MEMORY:
                    self._dma.write(address, bytes(state.buffer[start:end]))
                else:
                    state.buffer[start:end] = self._dma.read(address, end - start)
            except DmaFault as fault:
                self.log.note(self.name, "DMA_COMMAND", f"transfer lost: {fault.reason}", address=address)
        if state.dma_command & INTERRUPT_WHEN_MOVED:
            self._raise(TRANSFER_DONE)

    # --- time --------------------------------------------------------------------------------------------------------------------------------
    def _arm(self) -> None:
        """Deadlines for what is under way."""
        for deadline in self._deadlines:
            deadline.cancel()
        self._deadlines = [self._clock.at(when, action) for when, action in ((self.state.computed_at, self._computed), (self.state.moved_at, self._moved))
                           if when >= 0]

    def on_restore(self) -> None:
        """Addresses, pin and deadlines follow the state."""
        super().on_restore()
        self._arm()


class _Sizes:
    """The registers, for accesses of the sizes that the card takes."""

    def __init__(self, registers: Block, log: AccessLog) -> None:
        self._registers, self._log = registers, log

    def read(self, offset: int, size: int) -> int:
        """4 bytes, or 8 from `WIDE_REGISTERS` on."""
        return self._registers.read(offset, size) if self._fits(offset, size, "read") else (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Likewise."""
        if self._fits(offset, size, "written"):
            self._registers.write(offset, 8 if offset >= WIDE_REGISTERS else size, value)

    def peek(self, offset: int, size: int) -> int:
        """As a debugger sees it: any size."""
        return self._registers.peek(offset, size)

    def _fits(self, offset: int, size: int, how: str) -> bool:
        fits = offset % size == 0 and (size == 4 or (size == 8 and offset >= WIDE_REGISTERS)) and (offset < WIDE_REGISTERS or offset % 8 == 0)
        if not fits:
            self._log.note(self._registers.chip.name, f"{offset:#x}", f"{how} in a size or at an address that the card does not take", size=size)
        return fits
