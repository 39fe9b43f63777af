"""The local APIC of whichever CPU is running: interrupts between CPUs.

Source: Intel SDM volume 3, 11.4.6 (ID), 11.6.1 (interrupt command register). The nucleus enables it, runs its timer and sends EOI.
"""

from __future__ import annotations

from kernel.hardware import Hardware

ICR_LOW, ICR_HIGH = 0x300, 0x310
FIXED, ASSERT = 0 << 8, 1 << 14
DESTINATION_SHIFT = 24                  # xAPIC: physical destination in ICR_HIGH[31:24]


class LocalApic:
    """Registers at `base`; every CPU sees its own there."""

    def __init__(self, hardware: Hardware, base: int) -> None:
        self._hardware, self.base = hardware, base

    def send(self, apic_id: int, vector: int) -> None:
        """Send `vector` to one CPU. Writing ICR_LOW is what sends, so it comes second."""
        self._hardware.mmio_write(self.base + ICR_HIGH, 4, apic_id << DESTINATION_SHIFT)
        self._hardware.mmio_write(self.base + ICR_LOW, 4, FIXED | ASSERT | vector)
