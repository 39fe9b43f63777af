"""What software is told of the board, in each of the ways that it may ask: ACPI tables, the memory map, fw_cfg's files, CMOS.

A firmware takes tables and map from fw_cfg; a kernel that is booted without one gets the same from its loader.
"""

from __future__ import annotations

import struct

from devices.hpet import GCAP_ID as HPET_ID
from devices.pm import ACPI_DISABLE, ACPI_ENABLE
from machine.acpi import dsdt, fadt, hpet, madt, mcfg, rsdp
from machine.acpi.placement import loader_files
from machine.acpi.table import Table
from machine.address_map import APM_BASE, ECAM, HPET_BASE, IOAPIC_BASE, LAPIC_BASE, PCI_WINDOW, PIRQ_IRQS, PM_BASE, SCI, SERIAL_BASE
from machine.memory import E820_RAM, E820_RESERVED, HIGH_RAM_BASE, KIB, LOW_RAM_LIMIT, MIB, E820Entry, GuestMemory

LEGACY = (dsdt.SERIAL, dsdt.CLOCK, dsdt.KEYBOARD, dsdt.MOUSE)


def acpi_tables(cpus: int) -> list[Table]:
    """The board's ACPI tables, their addresses open."""
    return [
        rsdp.rsdp(), rsdp.xsdt(("FACP", "APIC", "HPET", "MCFG")),
        fadt.fadt(PM_BASE, SCI, APM_BASE, ACPI_ENABLE, ACPI_DISABLE, has_8042=True, has_vga=True), fadt.facs(),
        dsdt.dsdt(LEGACY, PCI_WINDOW, PIRQ_IRQS, ECAM), madt.madt(cpus, LAPIC_BASE, IOAPIC_BASE, cpus, SCI),
        hpet.hpet(HPET_BASE, HPET_ID.reset & 0xFFFFFFFF), mcfg.mcfg(*ECAM)]


def memory_map(memory: GuestMemory) -> list[E820Entry]:
    """The map that a loader hands on: what a firmware would leave."""
    return sorted([*memory.regions(), E820Entry(*ECAM, E820_RESERVED)], key=lambda entry: entry.base)


def firmware_files(memory: GuestMemory, cpus: int) -> dict[str, bytes]:
    """What fw_cfg offers: tables with the commands to install them, RAM, and where a console is.

    `etc/sercon-port` makes SeaBIOS mirror what it shows on the screen to COM1, and take keys from there.
    """
    return {**loader_files(acpi_tables(cpus)), "etc/e820": _ram(memory), "etc/sercon-port": struct.pack("<H", SERIAL_BASE)}


def _ram(memory: GuestMemory) -> bytes:
    """`etc/e820`: RAM as QEMU lists it, without what firmware carves out below 1 MiB."""
    ranges = [(0, memory.low_size)]
    if memory.size > memory.low_size:
        ranges.append((HIGH_RAM_BASE, memory.size - memory.low_size))
    return b"".join(struct.pack("<QQI", base, length, E820_RAM) for base, length in ranges)


def cmos(memory: GuestMemory, cpus: int) -> dict[int, int]:
    """Sizes of memory where a PC's firmware leaves them: 640 KiB, KiB above 1 MiB, 64 KiB above 16 MiB and above 4 GiB; processors - 1 at 0x5F."""
    low = min(memory.low_size, LOW_RAM_LIMIT)
    extended = min((low - MIB) // KIB, 0xFFFF)
    above_16 = max(low - 16 * MIB, 0) // (64 * KIB)
    above_4g = max(memory.size - memory.low_size, 0) // (64 * KIB)
    words = {0x15: 640, 0x17: extended, 0x30: extended, 0x34: min(above_16, 0xFFFF), 0x5B: above_4g & 0xFFFF}
    values = {at: value & 0xFF for at, value in words.items()} | {at + 1: value >> 8 & 0xFF for at, value in words.items()}
    return values | {0x5D: above_4g >> 16 & 0xFF, 0x5F: cpus - 1}
