"""Where everything is: the board's one table of addresses.

RAM and ROM are in memory.py. The ACPI block and PCI's configuration space in memory are windows that chipset registers move; here is where they start out
(the ACPI block) or where firmware puts them (configuration space: 0xB0000000 is where SeaBIOS does, right above the RAM below 4 GiB).
"""

from __future__ import annotations

from dataclasses import dataclass

from machine.memory import LOW_RAM_LIMIT, MIB

LAPIC_BASE, IOAPIC_BASE, HPET_BASE, VGA_TEXT = 0xFEE00000, 0xFEC00000, 0xFED00000, 0xB8000
SERIAL_BASE = 0x3F8
PM_BASE, PM_SIZE = 0x600, 0x80
APM_BASE = 0xB2
ECAM = (LOW_RAM_LIMIT, 256 * MIB)                   # PCI configuration space, buses 0-255
PCI_WINDOW = (LOW_RAM_LIMIT + 256 * MIB, 0xFEBFFFFF)
PCI_PORTS = (0xC000, 0xFFFF)                        # where firmware puts I/O base addresses

TIMER_IRQ, KEYBOARD_IRQ, SERIAL_IRQ, CLOCK_IRQ, MOUSE_IRQ, ISA_IRQS = 0, 1, 4, 8, 12, 16
SCI = 9
TIMER_PIN = 2                                       # of the IOAPIC; input 2 of the 8259A pair is its slave
FIRST_PCI_GSI = 16
PIRQ_IRQS = (10, 10, 11, 11) * 2                    # the ISA interrupts that firmware routes PIRQA#..PIRQH# to


@dataclass(frozen=True, slots=True)
class Place:
    """`length` bytes from `base` are a device's: a chip's block as "chip.block", or a device of the board by its name.

    An `exact` place takes only accesses of just its length, over whatever else is there.
    """

    base: int
    length: int
    device: str
    exact: bool = False


PORTS = (
    Place(0x020, 2, "pic-master.ports"),
    Place(0x040, 4, "pit8254.registers"),
    Place(0x060, 1, "i8042.data"),
    Place(0x061, 1, "port61.registers"),
    Place(0x064, 1, "i8042.command"),
    Place(0x070, 2, "rtc.ports"),
    Place(0x080, 1, "post.port"),
    Place(0x092, 1, "port92.port"),
    Place(0x0A0, 2, "pic-slave.ports"),
    Place(APM_BASE, 2, "pm.smi"),
    Place(0x0E9, 1, "debugcon.port"),
    Place(0x0F4, 4, "debug-exit.port"),
    Place(0x3C0, 0x20, "vga.ports"),
    Place(SERIAL_BASE, 8, "com1.registers"),
    Place(0x402, 1, "debugcon.port"),
    Place(0x4D0, 1, "pic-master.elcr"),
    Place(0x4D1, 1, "pic-slave.elcr"),
    Place(0x510, 2, "fw_cfg.selector", exact=True),
    Place(0x511, 1, "fw_cfg.data"),
    Place(0x514, 8, "fw_cfg.dma"),
    Place(0xCF8, 4, "pci-config.port"),
    Place(0xCF9, 1, "rst_cnt.port", exact=True),
    Place(0xCFC, 4, "pci-config-data"),
)

MEMORY = (
    Place(VGA_TEXT, 0x8000, "vga-memory"),
    Place(IOAPIC_BASE, 0x1000, "ioapic.window"),
    Place(HPET_BASE, 0x400, "hpet.registers"),
    Place(LAPIC_BASE, 0x1000, "lapics"),
)
