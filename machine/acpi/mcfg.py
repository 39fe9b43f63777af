"""MCFG: where PCI configuration space is in memory. Source: PCI Firmware Specification 3.0, 4.1.2 "MCFG Table Description"."""

from __future__ import annotations

import struct

from machine.acpi.table import Table, table

BUS_SIZE = 1 << 20                      # bytes a bus
SEGMENT = 0


def mcfg(base: int, length: int) -> Table:
    """One window for segment 0, from bus 0 on, 1 MiB a bus."""
    return table("MCFG", 1, bytes(8) + struct.pack("<QHBBI", base, SEGMENT, 0, length // BUS_SIZE - 1, 0))
