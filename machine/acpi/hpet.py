"""HPET: where the event timers are. Source: IA-PC HPET 1.0a, 3.2.4 "The ACPI 2.0 HPET Description Table"."""

from __future__ import annotations

import struct

from machine.acpi.table import Table, table

SYSTEM_MEMORY, BLOCK_BITS = 0, 64
NO_GUARANTEE = 0                        # page protection: other registers may share the page
MIN_TICK = 0x80                         # counts between two periodic interrupts, none of which is lost then; what PCs say


def hpet(base: int, block_id: int) -> Table:
    """Timer block 0 at `base`; `block_id` is the low half of its capabilities register."""
    body = struct.pack("<IBBBBQBHB", block_id, SYSTEM_MEMORY, BLOCK_BITS, 0, 0, base, 0, MIN_TICK, NO_GUARANTEE)
    return table("HPET", 1, body)
