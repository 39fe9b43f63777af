"""PCI configuration space: the header that every function has, and the buses on which functions are found.

Specification: PCI Local Bus 3.0, chapter 6 "Configuration Space" and 3.2.2.3.4 (a master abort on a configuration read gives all ones).

Software looks around in configuration space to find out what is there: it writes ones to base address registers that do not exist and reads registers that do
not (6.1, 6.2.5.1). That is noted nowhere. Not modelled: CardBus, expansion ROMs, BIST.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from devices.core.bus import BusDevice
from devices.core.declare import RO, RW, W1C, Field, Layout, Register
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import Chip

CONFIG_SIZE = 0x100
SLOTS, FUNCTIONS, BARS = 32, 8, 6
MULTI_FUNCTION = 0x80
BRIDGE_HOST, BRIDGE_ISA = 0x060000, 0x060100          # class codes, 24 bits

COMMAND_FIELDS = (
    Field("IO", 0, doc="answers I/O"), Field("MEMORY", 1, doc="answers memory"), Field("MASTER", 2, doc="may do DMA"), Field("SPECIAL", 3, RO),
    Field("MWI", 4, RO), Field("VGA_SNOOP", 5, RO), Field("PARITY", 6, doc="parity error response"), Field("STEPPING", 7, RO), Field("SERR", 8),
    Field("FAST_B2B", 9, RO), Field("INTX_DISABLE", 10, doc="does not drive INTx#"), Field("RSVD", (15, 11), RO))
STATUS_FIELDS = (
    Field("RSVD", (2, 0)), Field("INTERRUPT", 3, doc="INTx# is asserted"), Field("CAPABILITIES", 4, doc="there is a list at 0x34"), Field("MHZ66", 5),
    Field("RSVD6", 6), Field("FAST_B2B", 7), Field("MASTER_PARITY", 8, W1C), Field("DEVSEL", (10, 9)), Field("SIGNALLED_TARGET_ABORT", 11, W1C),
    Field("RECEIVED_TARGET_ABORT", 12, W1C), Field("RECEIVED_MASTER_ABORT", 13, W1C), Field("SIGNALLED_SERR", 14, W1C), Field("PARITY_ERROR", 15, W1C))
IO, MEMORY, MASTER, INTX_DISABLE = 1 << 0, 1 << 1, 1 << 2, 1 << 10
INTERRUPT, RECEIVED_MASTER_ABORT = 1 << 3, 1 << 13
COMMAND, BAR, INTERRUPT_LINE, INTERRUPT_PIN = 0x04, 0x10, 0x3C, 0x3D          # offsets of a type 0 header


@dataclass
class HeaderState:
    """The header's registers that can change; a function's state derives from it and gives its own resets."""

    command: int = 0
    status: int = 0
    cache_line_size: int = 0
    latency_timer: int = 0
    interrupt_line: int = 0
    bar: list[int] = field(default_factory=lambda: [0] * BARS)


@dataclass(frozen=True, slots=True)
class Bar:
    """One base address register (6.2.5.1).

    Args:
        index: 0..5; with `wide` it takes the next one too.
        size: bytes, a power of two: at least 16 of memory, 4 of I/O.
        io: I/O instead of memory.
        wide: may lie anywhere in 64 bits.
        prefetchable: reading has no side effects.
    """

    index: int
    size: int
    io: bool = False
    wide: bool = False
    prefetchable: bool = False

    @property
    def kind(self) -> int:
        """The low bits that software reads."""
        return 1 if self.io else self.wide << 2 | self.prefetchable << 3


def header(vendor: int, device: int, revision: int, class_code: int, header_type: int = 0, interrupt_pin: int = 0, subsystem: tuple[int, int] = (0, 0),
           command: int = 0, status: int = 0, capabilities: int = 0) -> tuple[Register, ...]:
    """The 64 bytes of a type 0 header (6.1).

    Args:
        vendor, device: ids.
        revision: 8 bits.
        class_code: base class, sub-class, interface: 24 bits.
        header_type: 0, or MULTI_FUNCTION.
        interrupt_pin: 0 for none, 1..4 for INTA#..INTD#.
        subsystem: (vendor, id).
        command, status: resets, those of the function's state.
        capabilities: offset of the first capability, 0 for none.
    """
    return (
        Register("VENDOR_ID", 0x00, 2, RO, vendor), Register("DEVICE_ID", 0x02, 2, RO, device),
        Register("COMMAND", 0x04, 2, RW, command, COMMAND_FIELDS, "what the function may do"),
        Register("STATUS", 0x06, 2, RO, status, STATUS_FIELDS, "what happened"),
        Register("REVISION_ID", 0x08, 1, RO, revision), Register("INTERFACE", 0x09, 1, RO, class_code & 0xFF),
        Register("SUB_CLASS", 0x0A, 1, RO, class_code >> 8 & 0xFF), Register("BASE_CLASS", 0x0B, 1, RO, class_code >> 16),
        Register("CACHE_LINE_SIZE", 0x0C, 1, RW), Register("LATENCY_TIMER", 0x0D, 1, RW), Register("HEADER_TYPE", 0x0E, 1, RO, header_type),
        Register("BIST", 0x0F, 1, RO), Register("BAR", 0x10, 4, RW, count=BARS, stride=4, doc="base addresses"),
        Register("CARDBUS_CIS", 0x28, 4, RO), Register("SUBSYSTEM_VENDOR_ID", 0x2C, 2, RO, subsystem[0]), Register("SUBSYSTEM_ID", 0x2E, 2, RO, subsystem[1]),
        Register("EXPANSION_ROM", 0x30, 4, RW, doc="there is none"), Register("CAPABILITIES_POINTER", 0x34, 1, RO, capabilities),
        Register("HEADER_RSVD", 0x35, 1, RO, count=7, stride=1),
        Register("INTERRUPT_LINE", 0x3C, 1, RW, doc="for software alone"), Register("INTERRUPT_PIN", 0x3D, 1, RO, interrupt_pin),
        Register("MIN_GNT", 0x3E, 1, RO), Register("MAX_LAT", 0x3F, 1, RO),
    )


def layout(*registers: Register) -> Layout:
    """The configuration block of a function. Unimplemented registers read 0 and writes to them are lost (6.1)."""
    return Layout("config", CONFIG_SIZE, registers)


S = TypeVar("S", bound=HeaderState)


class PciFunction(Chip[S]):
    """A function: a chip with a block "config" that begins with `header`.

    Attributes:
        BASES: its base address registers.
        parts: further chips that belong to it, such as the table of MSI-X; set by the constructor.
        place: told (register, address) when the function begins to answer there, (register, None) when it no longer does.
        intx: its interrupt pin, high while asserted.
    """

    BASES: ClassVar[tuple[Bar, ...]] = ()

    def __init__(self, log: AccessLog, name: str = "") -> None:
        super().__init__(log, name)
        self.parts: tuple[Chip[Any], ...] = ()
        self.place: Callable[[Bar, int | None], None] | None = None
        self.intx = IrqLine(name=f"{self.name} INTx")
        self._bars: dict[int, Bar] = {bar.index: bar for bar in self.BASES}
        self._upper = {bar.index + 1: bar for bar in self.BASES if bar.wide}
        self._placed: dict[int, int] = {}

    @property
    def config(self) -> BusDevice:
        """Its configuration space."""
        return self.blocks["config"]

    @property
    def is_master(self) -> bool:
        """Whether it may do DMA and send messages (6.2.2)."""
        return self.state.command & MASTER != 0

    @property
    def pin(self) -> int:
        """Its interrupt pin: 0 for none, 1..4 for INTA#..INTD#."""
        return self.config.peek(INTERRUPT_PIN, 1)

    def region(self, bar: Bar) -> BusDevice:
        """What answers at one of its base addresses. A function that has any overrides this. `Bus` puts several devices into one."""
        raise NotImplementedError(f"{self.name} does not say what base address {bar.index} leads to")

    def withdraw(self) -> None:
        """Answer at no base address any more, until the state says so anew: all of a board is about to be reset or restored."""
        for bar in self.BASES:
            if self._placed.pop(bar.index, None) is not None and self.place is not None:
                self.place(bar, None)

    def no_register(self, block: str, offset: int, size: int, written: int | None) -> None:
        """Looking around in configuration space is no mistake; elsewhere it is."""
        if block != "config":
            super().no_register(block, offset, size, written)

    def interrupt(self, level: bool) -> None:
        """The function wants service, or no longer (6.2.3): shown in STATUS, and on the pin unless COMMAND forbids that."""
        state = self.state
        state.status = state.status | INTERRUPT if level else state.status & ~INTERRUPT
        self.intx.set(level and not state.command & INTX_DISABLE)

    def received_abort(self) -> None:
        """Nobody took an access that the function made as a master (6.2.3)."""
        self.state.status |= RECEIVED_MASTER_ABORT

    def on_COMMAND(self, value: int, old: int) -> None:
        if (value ^ old) & (IO | MEMORY):
            self._decode()
        if (value ^ old) & INTX_DISABLE:
            self.interrupt(self.state.status & INTERRUPT != 0)

    def peek_BAR(self, index: int) -> int:
        bar = self._bars.get(index)
        return self.state.bar[index] | (bar.kind if bar is not None else 0)

    def on_BAR(self, index: int, value: int) -> None:
        bar, below = self._bars.get(index), self._upper.get(index)
        if bar is not None:
            value &= -bar.size & 0xFFFFFFFF
        elif below is not None:
            value &= -below.size >> 32 & 0xFFFFFFFF
        else:
            value = 0
        self.state.bar[index] = value
        self._decode()

    def peek_EXPANSION_ROM(self) -> int:
        return 0

    def on_EXPANSION_ROM(self, _value: int) -> None:
        """There is none, as software finds out by writing ones (6.2.5.2)."""

    def _decode(self) -> None:
        """Tell of every base address that came into force, moved or went. Address 0 means "not set up"."""
        state = self.state
        for bar in self.BASES:
            base = state.bar[bar.index] | (state.bar[bar.index + 1] << 32 if bar.wide else 0)
            answers = base != 0 and state.command & (IO if bar.io else MEMORY) != 0
            if (base if answers else None) == self._placed.get(bar.index):
                continue
            if self.place is not None and bar.index in self._placed:
                self.place(bar, None)
            self._placed.pop(bar.index, None)
            if answers:
                self._placed[bar.index] = base
                if self.place is not None:
                    self.place(bar, base)

    def on_reset(self) -> None:
        """No base address is in force, no interrupt asserted."""
        self.on_restore()

    def on_restore(self) -> None:
        """Addresses and pin follow the state."""
        self._decode()
        self.interrupt(self.state.status & INTERRUPT != 0)


class PciBus:
    """Bus 0: functions by slot and number.

    Args:
        log: told of configuration accesses beyond the space of a function.
    """

    def __init__(self, log: AccessLog) -> None:
        self._log = log
        self.functions: dict[tuple[int, int], PciFunction[Any]] = {}

    def plug(self, slot: int, function: int, device: PciFunction[Any]) -> None:
        """Put a function on the bus. Raises ValueError if the place is taken or is none."""
        if not (0 <= slot < SLOTS and 0 <= function < FUNCTIONS) or (slot, function) in self.functions:
            raise ValueError(f"00:{slot:02x}.{function} is taken, or no place on a bus")
        self.functions[slot, function] = device

    def find(self, bus: int, devfn: int) -> PciFunction[Any] | None:
        """The function at a bus, and slot << 3 | function."""
        return self.functions.get((devfn >> 3, devfn & 7)) if bus == 0 else None

    def read(self, bus: int, devfn: int, offset: int, size: int) -> int:
        """A configuration read; nobody answers: all ones."""
        function = self.find(bus, devfn)
        return (1 << 8 * size) - 1 if function is None or offset >= CONFIG_SIZE else function.config.read(offset, size)

    def write(self, bus: int, devfn: int, offset: int, size: int, value: int) -> None:
        """A configuration write; nobody answers: lost."""
        function = self.find(bus, devfn)
        if function is not None and offset < CONFIG_SIZE:
            function.config.write(offset, size, value)

    def peek(self, bus: int, devfn: int, offset: int, size: int) -> int:
        """As `read`, without side effects."""
        function = self.find(bus, devfn)
        return (1 << 8 * size) - 1 if function is None or offset >= CONFIG_SIZE else function.config.peek(offset, size)
