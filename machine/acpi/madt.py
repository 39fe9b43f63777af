"""MADT: the interrupt controllers. Source: ACPI 6.5 section 5.2.12."""

from __future__ import annotations

import struct

from machine.acpi.table import Table, table

PCAT_COMPAT = 1                         # a pair of 8259As is there too
ENABLED = 1
LOCAL_APIC, IO_APIC, SOURCE_OVERRIDE, LOCAL_APIC_NMI = 0, 1, 2, 4
CONFORMS = 0                            # to the bus's specification: ISA is edge, active high
ACTIVE_HIGH_LEVEL = 0b1101              # polarity 01, trigger mode 11
ALL_PROCESSORS = 0xFF


def madt(cpus: int, lapic_base: int, ioapic_base: int, ioapic_id: int, sci: int) -> Table:
    """APIC ids 0..cpus-1, one IOAPIC for GSI 0.., the PIT on pin 2, a level SCI, NMI on LINT1 of all."""
    body = struct.pack("<II", lapic_base, PCAT_COMPAT)
    for index in range(cpus):
        body += struct.pack("<BBBBI", LOCAL_APIC, 8, index, index, ENABLED)
    body += struct.pack("<BBBBII", IO_APIC, 12, ioapic_id, 0, ioapic_base, 0)
    body += struct.pack("<BBBBIH", SOURCE_OVERRIDE, 10, 0, 0, 2, CONFORMS)
    body += struct.pack("<BBBBIH", SOURCE_OVERRIDE, 10, 0, sci, sci, ACTIVE_HIGH_LEVEL)
    body += struct.pack("<BBBHB", LOCAL_APIC_NMI, 6, ALL_PROCESSORS, CONFORMS, 1)
    return table("APIC", 4, body)
