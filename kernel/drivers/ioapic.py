"""An I/O APIC: which vector on which CPU a wire becomes.

Source: Intel 82093AA data sheet, 3.1 (index and window), 3.2 (registers, redirection table).
"""

from __future__ import annotations

from kernel.hardware import Hardware

INDEX, WINDOW = 0x00, 0x10
VERSION, REDIRECTION = 0x01, 0x10
MAX_PINS = 240                          # the most that the index register can reach
ACTIVE_LOW, LEVEL, MASKED = 1 << 13, 1 << 15, 1 << 16
DESTINATION_SHIFT = 24                  # of the high half: physical APIC ID


class IoApic:
    """Registers at `base`.

    Attributes:
        first_gsi: global system interrupt of pin 0.
        pins: how many it has.
    """

    def __init__(self, hardware: Hardware, base: int, first_gsi: int) -> None:
        self._hardware, self.base, self.first_gsi = hardware, base, first_gsi
        self.pins = min((self.read(VERSION) >> 16 & 0xFF) + 1, MAX_PINS)

    def serves(self, gsi: int) -> bool:
        """Whether a global system interrupt is one of its pins."""
        return self.first_gsi <= gsi < self.first_gsi + self.pins

    def mask_all(self) -> None:
        """Let nothing through."""
        for pin in range(self.pins):
            self.write(REDIRECTION + 2 * pin, MASKED)

    def route(self, gsi: int, vector: int, apic_id: int, *, active_low: bool, level: bool) -> None:
        """Deliver a pin as a fixed interrupt to one CPU. The high half comes first: the entry is masked until it is whole."""
        entry = REDIRECTION + 2 * (gsi - self.first_gsi)
        self.write(entry, MASKED)
        self.write(entry + 1, apic_id << DESTINATION_SHIFT)
        self.write(entry, vector | (ACTIVE_LOW if active_low else 0) | (LEVEL if level else 0))

    def read(self, register: int) -> int:
        """An indirect register."""
        self._hardware.mmio_write(self.base + INDEX, 4, register)
        return self._hardware.mmio_read(self.base + WINDOW, 4)

    def write(self, register: int, value: int) -> None:
        """Set an indirect register."""
        self._hardware.mmio_write(self.base + INDEX, 4, register)
        self._hardware.mmio_write(self.base + WINDOW, 4, value)
