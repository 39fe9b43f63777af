"""RSDP and XSDT: how an operating system finds all the others. Source: ACPI 6.5 sections 5.2.5.3 and 5.2.8."""

from __future__ import annotations

import struct

from machine.acpi.table import HEADER, OEM_ID, Pointer, Table, table

REVISION = 2
V1_LENGTH, LENGTH = 20, 36


def rsdp() -> Table:
    """The root pointer, with an XSDT and no RSDT."""
    data = struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, OEM_ID, REVISION, 0, LENGTH, 0, 0)
    return Table("RSDP", data, (Pointer(24, 8, "XSDT"),), ((8, V1_LENGTH), (32, LENGTH)))


def xsdt(targets: tuple[str, ...]) -> Table:
    """The list of all tables but those that the FADT leads to."""
    pointers = tuple(Pointer(HEADER.size + 8 * index, 8, target) for index, target in enumerate(targets))
    return table("XSDT", 1, bytes(8 * len(targets)), pointers)
