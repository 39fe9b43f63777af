"""The MADT: local APICs, I/O APICs and how ISA interrupts reach them.

Source: ACPI 6.5, 5.2.12. Entries of types not listed here are skipped; an entry that is too short for its type ends the table, with a line in `notes`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from kernel.acpi.tables import HEADER
from kernel.errors import AcpiError
from kernel.hardware import PHYSICAL_LIMIT

SIGNATURE = "APIC"
LOCAL_APIC_ADDRESS, FIRST_ENTRY = HEADER.size, HEADER.size + 8
DEFAULT_LOCAL_APIC = 0xFEE00000
ENABLED = 1
POLARITY, TRIGGER = 0b11, 0b1100            # MPS INTI flags, table 5.26
ACTIVE_LOW, LEVEL_TRIGGERED = 0b11, 0b1100


class EntryType(IntEnum):
    """Interrupt controller structure types."""

    LOCAL_APIC = 0
    IO_APIC = 1
    SOURCE_OVERRIDE = 2
    LOCAL_APIC_ADDRESS_OVERRIDE = 5


ENTRIES: dict[int, struct.Struct] = {
    EntryType.LOCAL_APIC: struct.Struct("<BBI"),                    # processor UID, APIC ID, flags
    EntryType.IO_APIC: struct.Struct("<BxII"),                      # ID, address, first GSI
    EntryType.SOURCE_OVERRIDE: struct.Struct("<BBIH"),              # bus, source IRQ, GSI, flags
    EntryType.LOCAL_APIC_ADDRESS_OVERRIDE: struct.Struct("<2xQ"),   # address
}


@dataclass(frozen=True, slots=True)
class IoApicEntry:
    """An I/O APIC: where it is and the first global system interrupt it serves."""

    id: int
    address: int
    first_gsi: int


@dataclass(frozen=True, slots=True)
class Line:
    """How an interrupt reaches an I/O APIC."""

    gsi: int
    active_low: bool = False
    level: bool = False


@dataclass(slots=True)
class Madt:
    """The parsed table; `cpus` are the APIC IDs of enabled processors, `overrides` the ISA IRQs that are not wired one to one."""

    local_apic: int = DEFAULT_LOCAL_APIC
    cpus: list[int] = field(default_factory=list)
    io_apics: list[IoApicEntry] = field(default_factory=list)
    overrides: dict[int, Line] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, table: bytes) -> Madt:
        """Take the table apart. Raises: AcpiError."""
        if len(table) < FIRST_ENTRY:
            raise AcpiError(f"ACPI: the MADT is only {len(table)} bytes long")
        madt = cls(int.from_bytes(table[LOCAL_APIC_ADDRESS:LOCAL_APIC_ADDRESS + 4], "little"))
        offset = FIRST_ENTRY
        while offset < len(table):
            kind, length = table[offset], table[offset + 1] if offset + 1 < len(table) else 0
            layout = ENTRIES.get(kind)
            if length < 2 or offset + length > len(table) or (layout and length < 2 + layout.size):
                madt.notes.append(f"ACPI: the MADT's entry at {offset:#x} has the impossible length {length}")
                break
            if layout:
                madt._add(EntryType(kind), layout.unpack_from(table, offset + 2))
            offset += length
        return madt

    def isa(self, irq: int) -> Line:
        """How ISA interrupt `irq` is wired: as overridden, otherwise to the GSI of its own number, active high and edge triggered."""
        return self.overrides.get(irq, Line(irq))

    def _add(self, kind: EntryType, values: tuple[int, ...]) -> None:
        match kind, values:
            case EntryType.LOCAL_APIC, (_uid, apic_id, flags):
                if flags & ENABLED:
                    self.cpus.append(apic_id)
            case EntryType.IO_APIC, (number, address, first_gsi):
                self.io_apics.append(IoApicEntry(number, address, first_gsi))
            case EntryType.SOURCE_OVERRIDE, (0, irq, gsi, flags):
                self.overrides[irq] = Line(gsi, flags & POLARITY == ACTIVE_LOW, flags & TRIGGER == LEVEL_TRIGGERED)
            case EntryType.LOCAL_APIC_ADDRESS_OVERRIDE, (address,) if address < PHYSICAL_LIMIT:
                self.local_apic = address
            case _:                                     # an override on another bus than ISA, an address that no CPU has
                self.notes.append(f"ACPI: an entry of the MADT makes no sense: {kind.name} {values}")
