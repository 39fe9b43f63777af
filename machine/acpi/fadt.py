"""FADT and FACS: the fixed hardware. Source: ACPI 6.5 sections 5.2.9 and 5.2.10.

The board's ACPI registers are those of an ICH9 with PMBASE 0x600, which is where QEMU's q35 firmware puts them too.
"""

from __future__ import annotations

import struct

from machine.acpi.table import HEADER, Pointer, Table, table

WBINVD, PROC_C1, SLP_BUTTON, TMR_VAL_EXT, RESET_REG_SUP = 1 << 0, 1 << 2, 1 << 5, 1 << 8, 1 << 10
USE_PLATFORM_CLOCK = 1 << 15
LEGACY_DEVICES, HAS_8042, NO_VGA = 1 << 0, 1 << 1, 1 << 2      # IAPC_BOOT_ARCH
C2_UNSUPPORTED, C3_UNSUPPORTED = 0xFFF, 0xFFF
SYSTEM_IO = 1
RESET_PORT, RESET_VALUE = 0xCF9, 0x06
RTC_CENTURY = 0x32
DSDT_AT, X_DSDT_AT = 40, 140


def _address(port: int, bits: int, access: int) -> bytes:
    """A Generic Address Structure (5.2.3.2) for an I/O port; all zero when there is none."""
    return struct.pack("<BBBBQ", SYSTEM_IO, bits, 0, access, port) if port else bytes(12)


def fadt(pm_base: int, sci: int, smi_command: int, acpi_enable: int, acpi_disable: int, has_8042: bool, has_vga: bool) -> Table:
    """Revision 6 of the table, with the power-management block at `pm_base`."""
    flags = WBINVD | PROC_C1 | SLP_BUTTON | TMR_VAL_EXT | RESET_REG_SUP
    boot = LEGACY_DEVICES | (HAS_8042 if has_8042 else 0) | (0 if has_vga else NO_VGA)
    body = struct.pack("<IIBBHIBBBB", 0, 0, 0, 0, sci, smi_command, acpi_enable, acpi_disable, 0, 0)
    body += struct.pack("<8I", pm_base, 0, pm_base + 4, 0, 0, pm_base + 8, pm_base + 0x20, 0)
    body += struct.pack("<BBBBBBBB", 4, 2, 0, 4, 16, 0, 0, 0)                      # lengths; GPE1 base; _CST
    body += struct.pack("<HHHHBBBBBHBI", C2_UNSUPPORTED, C3_UNSUPPORTED, 0, 0, 0, 0, 0, 0, RTC_CENTURY, boot, 0, flags)
    body += _address(RESET_PORT, 8, 1) + struct.pack("<BHB", RESET_VALUE, 0, 5)    # ARM boot flags; minor version 6.5
    body += struct.pack("<QQ", 0, 0)                                               # X_FIRMWARE_CTRL, X_DSDT
    body += _address(pm_base, 32, 2) + bytes(12) + _address(pm_base + 4, 16, 2) + bytes(12) + bytes(12)
    body += _address(pm_base + 8, 32, 3) + _address(pm_base + 0x20, 128, 1) + bytes(12)
    body += bytes(24) + bytes(8)                                                   # sleep registers, hypervisor vendor
    assert HEADER.size + len(body) == 276
    return table("FACP", 6, body, (Pointer(36, 4, "FACS"), Pointer(DSDT_AT, 4, "DSDT"), Pointer(X_DSDT_AT, 8, "DSDT")))


def facs() -> Table:
    """The firmware control structure: 64 bytes, aligned to as many, without a checksum."""
    return Table("FACS", struct.pack("<4sIIIIIQB", b"FACS", 64, 0, 0, 0, 0, 0, 2).ljust(64, b"\0"), align=64)
