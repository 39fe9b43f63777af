"""The FADT: where the power management timer, the power button's registers and the reset register are.

Source: ACPI 6.5, 5.2.9 (FADT) and 5.2.3.2 (generic address). The older 32-bit fields count where a table is too short for the extended ones or
leaves them empty.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from kernel.errors import AcpiError
from kernel.hardware import PHYSICAL_LIMIT, Hardware

SIGNATURE = "FACP"
MIN_SIZE = 116                      # revision 1: to Flags
DSDT, SCI_INT, SMI_CMD, ACPI_ENABLE = 40, 46, 48, 52
PM1A_CNT_BLK, PM1B_CNT_BLK, PM_TMR_BLK = 64, 68, 76
CENTURY, FLAGS = 108, 112
RESET_REG, RESET_VALUE = 116, 128
X_DSDT, X_PM1A_CNT_BLK, X_PM1B_CNT_BLK, X_PM_TMR_BLK = 140, 172, 184, 208
TMR_VAL_EXT, RESET_REG_SUP = 1 << 8, 1 << 10
PORTS = 0x10000
CMOS_SIZE = 0x80
GENERIC_ADDRESS = struct.Struct("<BBBBQ")


class AddressSpaceId(IntEnum):
    """Where a register lives."""

    SYSTEM_MEMORY = 0
    SYSTEM_IO = 1


@dataclass(frozen=True, slots=True)
class Register:
    """A register by its generic address; `size` in bytes."""

    space: AddressSpaceId
    address: int
    size: int

    def read(self, hardware: Hardware) -> int:
        """Its value."""
        if self.space is AddressSpaceId.SYSTEM_IO:
            return hardware.port_read(self.address, self.size)
        return hardware.mmio_read(self.address, self.size)

    def write(self, hardware: Hardware, value: int) -> None:
        """Set it."""
        if self.space is AddressSpaceId.SYSTEM_IO:
            hardware.port_write(self.address, self.size, value)
        else:
            hardware.mmio_write(self.address, self.size, value)


@dataclass(frozen=True, slots=True)
class Fadt:
    """What this kernel needs of the FADT. Registers that the machine does not have are None.

    Attributes:
        pm_timer_width: bits: 24 or 32.
        century: CMOS register of the century; 0 = none.
    """

    dsdt: int
    sci: int
    smi_command: int
    acpi_enable: int
    pm1a_control: Register | None
    pm1b_control: Register | None
    pm_timer: Register | None
    pm_timer_width: int
    century: int
    reset: Register | None
    reset_value: int

    @classmethod
    def parse(cls, table: bytes) -> Fadt:
        """Take the table apart. Raises: AcpiError."""
        if len(table) < MIN_SIZE:
            raise AcpiError(f"ACPI: the FADT is only {len(table)} bytes long")

        def number(offset: int, size: int) -> int:
            return int.from_bytes(table[offset:offset + size], "little") if offset + size <= len(table) else 0

        flags, command, century = number(FLAGS, 4), number(SMI_CMD, 4), number(CENTURY, 1)
        return cls(
            dsdt=number(X_DSDT, 8) or number(DSDT, 4), sci=number(SCI_INT, 2),
            smi_command=command if command < PORTS else 0, acpi_enable=number(ACPI_ENABLE, 1),
            pm1a_control=generic(table, X_PM1A_CNT_BLK, 2) or port(number(PM1A_CNT_BLK, 4), 2),
            pm1b_control=generic(table, X_PM1B_CNT_BLK, 2) or port(number(PM1B_CNT_BLK, 4), 2),
            pm_timer=generic(table, X_PM_TMR_BLK, 4) or port(number(PM_TMR_BLK, 4), 4),
            pm_timer_width=32 if flags & TMR_VAL_EXT else 24, century=century if century < CMOS_SIZE else 0,
            reset=generic(table, RESET_REG, 1) if flags & RESET_REG_SUP else None, reset_value=number(RESET_VALUE, 1))


def generic(table: bytes, offset: int, size: int) -> Register | None:
    """The register at a generic address of a table, accessed with `size` bytes; None when absent, empty or in a space that this kernel cannot reach."""
    if offset + GENERIC_ADDRESS.size > len(table):
        return None
    space, _width, _bit, _access, address = GENERIC_ADDRESS.unpack_from(table, offset)
    if address == 0 or space not in AddressSpaceId.__members__.values():
        return None
    if address > (PORTS if space == AddressSpaceId.SYSTEM_IO else PHYSICAL_LIMIT) - size:
        return None
    return Register(AddressSpaceId(space), address, size)


def port(address: int, size: int) -> Register | None:
    """The register at an I/O port; None for 0 or what is no port."""
    return Register(AddressSpaceId.SYSTEM_IO, address, size) if 0 < address <= PORTS - size else None
