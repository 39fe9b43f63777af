"""PCI enumeration by configuration mechanism 1.

Source: PCI Local Bus Specification 3.0, 3.2.2.3.2 (CONFIG_ADDRESS, CONFIG_DATA), 6.1 (header); PCI Code and ID Assignment 1.11, 1 (classes).
Buses behind bridges are visited as the firmware numbered them, each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kernel.hardware import Hardware

CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
ENABLE = 1 << 31
ID, CLASS, HEADER_TYPE, BUS_NUMBERS = 0x00, 0x08, 0x0C, 0x18
ABSENT = 0xFFFF
DEVICES, FUNCTIONS = 32, 8
MULTI_FUNCTION, BRIDGE_HEADER = 0x80, 0x01

CLASSES = {
    0x0000: "unclassified", 0x0100: "SCSI controller", 0x0101: "IDE controller", 0x0106: "SATA controller", 0x0108: "NVMe controller",
    0x0180: "storage controller", 0x0200: "ethernet controller", 0x0280: "network controller", 0x0300: "VGA controller",
    0x0380: "display controller", 0x0401: "audio device", 0x0403: "audio device", 0x0480: "multimedia device", 0x0500: "RAM",
    0x0600: "host bridge", 0x0601: "ISA bridge", 0x0604: "PCI bridge", 0x0680: "bridge", 0x0700: "serial controller",
    0x0780: "communication controller", 0x0880: "system device", 0x0900: "keyboard controller", 0x0980: "input device", 0x0C03: "USB controller",
    0x0C05: "SMBus controller", 0x1000: "encryption controller", 0xFF00: "unassigned",
}
NAMES = {
    (0x8086, 0x1237): "Intel 82441FX host bridge", (0x8086, 0x29C0): "Intel Q35 host bridge", (0x8086, 0x2918): "Intel ICH9 LPC bridge",
    (0x8086, 0x2922): "Intel ICH9 AHCI", (0x8086, 0x2930): "Intel ICH9 SMBus", (0x8086, 0x10D3): "Intel 82574L ethernet",
    (0x1AF4, 0x1041): "virtio network", (0x1AF4, 0x1042): "virtio block", (0x1AF4, 0x1043): "virtio console", (0x1AF4, 0x1044): "virtio entropy",
    (0x1AF4, 0x1050): "virtio GPU", (0x1AF4, 0x1052): "virtio input", (0x1AF4, 0x1000): "virtio network (transitional)",
    (0x1AF4, 0x1001): "virtio block (transitional)", (0x1234, 0x1111): "Bochs display",
}


@dataclass(frozen=True, slots=True)
class Function:
    """One PCI function as its header describes it; `code` is base class << 8 | subclass."""

    bus: int
    device: int
    function: int
    vendor: int
    product: int
    code: int

    @property
    def address(self) -> str:
        """bus:device.function in hexadecimal."""
        return f"{self.bus:02x}:{self.device:02x}.{self.function}"

    @property
    def kind(self) -> str:
        """Its class in words."""
        return CLASSES.get(self.code, f"class {self.code:04x}")

    @property
    def name(self) -> str:
        """What it is called, or its numbers."""
        return NAMES.get((self.vendor, self.product), f"{self.vendor:04x}:{self.product:04x}")


class Pci:
    """Configuration space through ports."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware

    def read(self, bus: int, device: int, function: int, register: int) -> int:
        """A 32-bit configuration register."""
        self._hardware.port_write(CONFIG_ADDRESS, 4, ENABLE | bus << 16 | device << 11 | function << 8 | register)
        return self._hardware.port_read(CONFIG_DATA, 4)

    def enumerate(self) -> list[Function]:
        """Every function there is, in order of bus, device and function."""
        found: list[Function] = []
        pending, seen = [0], {0}
        while pending:
            bus = pending.pop(0)
            for one, header in self._bus(bus):
                found.append(one)
                if header == BRIDGE_HEADER:
                    below = self.read(bus, one.device, one.function, BUS_NUMBERS) >> 8 & 0xFF
                    if below not in seen:               # 0 = not numbered; a loop would come round to a bus that was seen
                        seen.add(below)
                        pending.append(below)
        return sorted(found, key=lambda one: (one.bus, one.device, one.function))

    def _bus(self, bus: int) -> Iterator[tuple[Function, int]]:
        for device in range(DEVICES):
            count = 1
            function = 0
            while function < count:
                identity = self.read(bus, device, function, ID)
                if identity & 0xFFFF != ABSENT:
                    header = self.read(bus, device, function, HEADER_TYPE) >> 16 & 0xFF
                    if function == 0 and header & MULTI_FUNCTION:
                        count = FUNCTIONS
                    code = self.read(bus, device, function, CLASS) >> 16
                    yield Function(bus, device, function, identity & 0xFFFF, identity >> 16, code), header & ~MULTI_FUNCTION
                function += 1
