"""The 8259A pair, as far as a system with I/O APICs needs it: silent.

Source: Intel 8259A data sheet, "Initialization Command Words" and OCW1. It is initialised before it is masked, because a spurious IRQ 7 or 15 cannot
be masked and must not look like an exception: it arrives as vector 0xF7 or 0xFF, away from everything.
"""

from __future__ import annotations

from kernel.hardware import Hardware

MASTER, SLAVE = 0x20, 0xA0
ICW1_INIT_WITH_ICW4, ICW4_8086 = 0x11, 0x01
MASTER_BASE, SLAVE_BASE = 0xF0, 0xF8
SLAVE_ON_PIN_2, SLAVE_ID = 1 << 2, 2
ALL = 0xFF


def silence(hardware: Hardware) -> None:
    """Initialise both chips and mask every line."""
    for command, base, wiring in ((MASTER, MASTER_BASE, SLAVE_ON_PIN_2), (SLAVE, SLAVE_BASE, SLAVE_ID)):
        data = command + 1
        hardware.port_write(command, 1, ICW1_INIT_WITH_ICW4)
        for word in (base, wiring, ICW4_8086, ALL):
            hardware.port_write(data, 1, word)
