"""The I/O APIC: 24 interrupt inputs, each with a message to local APICs.

Intel 82093AA data sheet, order 290566-001, chapter 3 "Register description"; Intel ICH9 datasheet, order 316972-004, 13.5 "APIC registers" (version 0x20, which
has the EOI register). Inputs carry logical levels, asserted or not: the polarity bit is kept and changes nothing, as boards wire each input for the polarity
that its source has. An edge at a masked input is lost (3.2.4, "Interrupt mask"). A level that no local APIC accepts is sent again when one is reconfigured.

Not modelled: delivery that takes time (delivery status is 1 only while a level is refused), arbitration (the register holds the id), and SMI, which nobody
receives.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from devices.apic_bus import ApicBus, DeliveryMode, Message
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, WO, Chip, Field, Layout, Register

PINS = 24
WINDOW_SIZE = 0x1000
VERSION = 0x20                             # has the EOI register
VERSION_RESET = PINS - 1 << 16 | VERSION
ENTRY_RESET = 1 << 16                      # masked

ENTRY = Register("ENTRY", 0x40, 8, reset=ENTRY_RESET, count=PINS, stride=8, fields=(
    Field("VECTOR", (7, 0)),
    Field("DELIVERY_MODE", (10, 8), enum=DeliveryMode),
    Field("LOGICAL", 11, doc="destination mode"),
    Field("DELIVERY_STATUS", 12, RO, doc="1: send pending"),
    Field("POLARITY", 13, doc="1: active low; kept"),
    Field("REMOTE_IRR", 14, RO, doc="accepted, no EOI yet"),
    Field("TRIGGER", 15, doc="1: level"),
    Field("MASK", 16),
    Field("DESTINATION", (63, 56)),
), doc="redirection table entry")

PENDING, REMOTE_IRR, LEVEL, MASKED = ENTRY["DELIVERY_STATUS"].mask, ENTRY["REMOTE_IRR"].mask, ENTRY["TRIGGER"].mask, ENTRY["MASK"].mask


@dataclass
class State:
    """`entry` is the redirection table, `pins` the inputs' levels, a bit each."""

    select: int = 0
    id: int = 0
    entry: list[int] = field(default_factory=lambda: [ENTRY_RESET] * PINS)
    pins: int = 0


class IoApic(Chip[State]):
    """The I/O APIC of a PC, mapped at 0xFEC00000.

    Args:
        bus: the local APICs.
        log: told of a guest's mistakes.
        apic_id: what the ID register holds after a reset.

    Attributes:
        pins: the inputs.
    """

    NAME = "ioapic"
    BLOCKS = (
        Layout("window", WINDOW_SIZE, (
            Register("SELECT", 0x00, 4, fields=(Field("INDEX", (7, 0)),), doc="which register DATA is (IOREGSEL)"),
            Register("DATA", 0x10, 4, doc="the selected register (IOWIN)"),
            Register("EOI", 0x40, 4, WO, doc="end of a vector's level interrupts"),
        )),
        Layout("selected", 0x400, (        # not mapped: reached through DATA, four bytes an index
            Register("ID", 0x00, 4, fields=(Field("ID", (27, 24)),), doc="identification"),
            Register("VERSION", 0x04, 4, RO, VERSION_RESET, (Field("VERSION", (7, 0)), Field("ENTRIES", (23, 16), doc="last one's number")), doc="version"),
            Register("ARBITRATION", 0x08, 4, RO, fields=(Field("ID", (27, 24)),), doc="arbitration id"),
            ENTRY,
        )),
    )

    def __init__(self, bus: ApicBus, log: AccessLog, apic_id: int = 0) -> None:
        self._apic_id = apic_id
        super().__init__(log)
        self._bus = bus
        self._selected = self.blocks["selected"]
        self.pins = tuple(IrqLine(functools.partial(self._pin, pin), f"GSI{pin}") for pin in range(PINS))
        bus.senders.append(self)

    def initial(self) -> State:
        """All masked."""
        return State(id=self._apic_id << 24)

    def on_reset(self) -> None:
        """The wires keep their levels."""
        self.state.pins = sum(line.level << pin for pin, line in enumerate(self.pins))

    def on_restore(self) -> None:
        """The wires had these levels."""
        for pin, line in enumerate(self.pins):
            line.level = bool(self.state.pins >> pin & 1)

    # --- inputs ----------------------------------------------------------------------------------------------------------------------
    def _pin(self, pin: int, level: bool) -> None:
        state = self.state
        if not level:
            state.pins &= ~(1 << pin)
            state.entry[pin] &= ~PENDING
            return
        state.pins |= 1 << pin
        entry = state.entry[pin]
        if entry & MASKED:
            return
        if entry & LEVEL:
            self._send_level(pin)
        else:
            self._send(entry)

    def _send_level(self, pin: int) -> None:
        """Send a level interrupt if the input asks for one and none is on its way."""
        state = self.state
        entry = state.entry[pin]
        if entry & (MASKED | REMOTE_IRR) or not entry & LEVEL or not state.pins >> pin & 1:
            return
        holds = entry >> 8 & 7 in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY)
        state.entry[pin] = entry & ~PENDING | (REMOTE_IRR if holds else 0)      # before the message, whose EOI may come within
        if not self._send(entry):
            state.entry[pin] = entry & ~REMOTE_IRR | PENDING

    def _send(self, entry: int) -> bool:
        mode = entry >> 8 & 7
        fixed = mode in (DeliveryMode.FIXED, DeliveryMode.LOWEST_PRIORITY)
        return self._bus.deliver(Message(entry >> 56, mode, entry & 0xFF, bool(entry >> 11 & 1), True, fixed and bool(entry & LEVEL)))

    # --- the bus's side --------------------------------------------------------------------------------------------------------------
    def end_of_interrupt(self, vector: int) -> None:
        """A level interrupt is done: its inputs may send again, and do if they still ask."""
        entries = self.state.entry
        for pin, entry in enumerate(entries):
            if entry & REMOTE_IRR and entry & 0xFF == vector:
                entries[pin] = entry & ~REMOTE_IRR
                self._send_level(pin)

    def retry(self) -> None:
        """A local APIC may accept what was refused."""
        for pin, entry in enumerate(self.state.entry):
            if entry & PENDING:
                self._send_level(pin)

    # --- registers -------------------------------------------------------------------------------------------------------------------
    def peek_DATA(self) -> int:
        """The selected register."""
        return self._selected.peek(self.state.select * 4, 4)

    def read_DATA(self) -> int:
        """The selected register; indices without one are noted."""
        return self._selected.read(self.state.select * 4, 4)

    def on_DATA(self, value: int) -> None:
        """To the selected register."""
        self._selected.write(self.state.select * 4, 4, value)

    def on_EOI(self, value: int) -> None:
        """ICH9 13.5.5: as if that vector's EOI had been broadcast."""
        self.end_of_interrupt(value & 0xFF)

    def peek_ARBITRATION(self) -> int:
        """82093AA 3.2.3: loaded from the ID register."""
        return self.state.id

    def on_ENTRY(self, index: int, value: int) -> None:
        """82093AA 3.2.4. An entry that becomes an edge waits for no EOI any more; that is how kernels end level interrupts without an EOI register."""
        if not value & LEVEL:
            self.state.entry[index] = value & ~(REMOTE_IRR | PENDING)
        elif value & MASKED:
            self.state.entry[index] = value & ~PENDING
        else:
            self._send_level(index)
