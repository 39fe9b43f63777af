"""DSDT: what cannot be found by looking. Source: ACPI 6.5 sections 5.2.11.1, 5.8.1 (\\_PIC), 6.2.13 (_PRT), 7.4.2 (\\_S5).

A PCI root with its windows and interrupt routing, the legacy devices behind the LPC bridge, and the value that switches the power off.
"""

from __future__ import annotations

from dataclasses import dataclass

from machine.acpi import aml
from machine.acpi.table import Table, table

S5_SLP_TYP = 0                          # ICH9 as QEMU models it: 0 is soft-off
PCI_SLOTS, PINS, FIRST_PCI_GSI, PCI_GSIS = 32, 4, 16, 8
EVERY_FUNCTION = 0xFFFF


@dataclass(frozen=True, slots=True)
class LegacyDevice:
    """A device with fixed ports and ISA interrupts, by its PNP id."""

    name: str
    pnp: str
    ports: tuple[tuple[int, int], ...]
    irqs: tuple[int, ...] = ()


SERIAL = LegacyDevice("COM1", "PNP0501", ((0x3F8, 8),), (4,))
CLOCK = LegacyDevice("RTC_", "PNP0B00", ((0x70, 2),), (8,))
KEYBOARD = LegacyDevice("KBD_", "PNP0303", ((0x60, 1), (0x64, 1)), (1,))
MOUSE = LegacyDevice("MOU_", "PNP0F13", (), (12,))


def dsdt(devices: tuple[LegacyDevice, ...], memory_window: tuple[int, int], pirq_irqs: tuple[int, ...], ecam: tuple[int, int] | None = None) -> Table:
    """The board's DSDT.

    Args:
        devices: what is behind the LPC bridge.
        memory_window: (first, last) address for PCI memory BARs.
        pirq_irqs: the ISA interrupt of each PIRQ, for systems that use the 8259A pair.
        ecam: (base, length) of the memory-mapped PCI configuration space, if there is one.
    """
    root = [aml.name("_HID", aml.eisa_id("PNP0A08")), aml.name("_CID", aml.eisa_id("PNP0A03")), aml.name("_UID", aml.integer(0)),
            aml.name("_CRS", aml.resources(aml.bus_numbers(0, 0xFF), aml.io(0xCF8, 8), aml.io_window(0, 0xCF7), aml.io_window(0xD00, 0xFFFF),
                                           aml.memory_window(0xA0000, 0xBFFFF), aml.memory_window(*memory_window))),
            aml.name("APIC", _routing(tuple(range(FIRST_PCI_GSI, FIRST_PCI_GSI + PCI_GSIS)))), aml.name("PIC_", _routing(pirq_irqs)),
            aml.method("_PRT", 0, aml.if_(aml.name_string("PICF"), aml.return_(aml.name_string("APIC"))), aml.return_(aml.name_string("PIC_"))),
            aml.device("ISA_", aml.name("_ADR", aml.integer(0x001F0000)), *(_legacy(device) for device in devices))]
    system = [aml.device("PCI0", *root)]
    if ecam is not None:
        system.append(aml.device("MRES", aml.name("_HID", aml.eisa_id("PNP0C02")), aml.name("_CRS", aml.resources(aml.memory32(*ecam)))))
    body = aml.name("PICF", aml.integer(0)) + aml.method("\\_PIC", 1, aml.store(aml.ARG0, "PICF")) + aml.scope("\\_SB", *system)
    body += aml.name("\\_S5", aml.package(aml.integer(S5_SLP_TYP), aml.integer(S5_SLP_TYP), aml.integer(0), aml.integer(0)))
    return table("DSDT", 2, body)


def _routing(interrupts: tuple[int, ...]) -> bytes:
    """INTA#..INTD# of slot s on PIRQ (s + pin) mod 8, and that on one of `interrupts`: an input of the I/O APIC, or an ISA interrupt."""
    return aml.package(*(
        aml.package(aml.integer(slot << 16 | EVERY_FUNCTION), aml.integer(pin), aml.integer(0), aml.integer(interrupts[(slot + pin) % PCI_GSIS]))
        for slot in range(PCI_SLOTS) for pin in range(PINS)))


def _legacy(device: LegacyDevice) -> bytes:
    descriptors = [aml.io(base, length) for base, length in device.ports] + [aml.irq(number) for number in device.irqs]
    terms = [aml.name("_HID", aml.eisa_id(device.pnp)), aml.name("_CRS", aml.resources(*descriptors))]
    if device.pnp == SERIAL.pnp:
        terms.append(aml.name("_UID", aml.integer(1)))
    return aml.device(device.name, *terms)
