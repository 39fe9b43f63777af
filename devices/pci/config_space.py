"""PCI configuration space: the header that every function has, and the buses on which functions are found.

Specification: PCI Local Bus 3.0, chapter 6 "Configuration Space" and 3.2.2.3.4 (a master abort on a configuration read gives all ones).
"""

from __future__ import annotations

from typing import Any, TypeVar

from devices.core.bus import BusDevice
from devices.core.declare import RO, RW, W1C, Field, Layout, Register
from devices.core.log import AccessLog
from devices.core.registers import Chip

CONFIG_SIZE = 0x100
SLOTS, FUNCTIONS = 32, 8
MULTI_FUNCTION = 0x80
BRIDGE_HOST, BRIDGE_ISA = 0x060000, 0x060100          # class codes, 24 bits

COMMAND = Register("COMMAND", 0x04, 2, RW, fields=(
    Field("IO", 0, doc="answers I/O"), Field("MEMORY", 1, doc="answers memory"), Field("MASTER", 2, doc="may do DMA"), Field("SPECIAL", 3, RO),
    Field("MWI", 4, RO), Field("VGA_SNOOP", 5, RO), Field("PARITY", 6, doc="parity error response"), Field("STEPPING", 7, RO), Field("SERR", 8),
    Field("FAST_B2B", 9, RO), Field("INTX_DISABLE", 10, doc="does not drive INTx#"), Field("RSVD", (15, 11), RO)), doc="what the function may do")
STATUS = Register("STATUS", 0x06, 2, RO, fields=(
    Field("RSVD", (2, 0)), Field("INTERRUPT", 3, doc="INTx# is asserted"), Field("CAPABILITIES", 4, doc="there is a list at 0x34"), Field("MHZ66", 5),
    Field("RSVD6", 6), Field("FAST_B2B", 7), Field("MASTER_PARITY", 8, W1C), Field("DEVSEL", (10, 9)), Field("SIGNALLED_TARGET_ABORT", 11, W1C),
    Field("RECEIVED_TARGET_ABORT", 12, W1C), Field("RECEIVED_MASTER_ABORT", 13, W1C), Field("SIGNALLED_SERR", 14, W1C), Field("PARITY_ERROR", 15, W1C)),
    doc="what happened")


def header(vendor: int, device: int, revision: int, class_code: int, header_type: int = 0, interrupt_pin: int = 0,
           subsystem: tuple[int, int] = (0, 0)) -> tuple[Register, ...]:
    """The 64 bytes of a type 0 header (6.1) without base address registers.

    Args:
        vendor, device: ids.
        revision: 8 bits.
        class_code: base class, sub-class, interface: 24 bits.
        header_type: 0, or MULTI_FUNCTION.
        interrupt_pin: 0 for none, 1..4 for INTA#..INTD#.
        subsystem: (vendor, id).
    """
    return (
        Register("VENDOR_ID", 0x00, 2, RO, vendor), Register("DEVICE_ID", 0x02, 2, RO, device), COMMAND, STATUS,
        Register("REVISION_ID", 0x08, 1, RO, revision), Register("INTERFACE", 0x09, 1, RO, class_code & 0xFF),
        Register("SUB_CLASS", 0x0A, 1, RO, class_code >> 8 & 0xFF), Register("BASE_CLASS", 0x0B, 1, RO, class_code >> 16),
        Register("CACHE_LINE_SIZE", 0x0C, 1, RW), Register("LATENCY_TIMER", 0x0D, 1, RW), Register("HEADER_TYPE", 0x0E, 1, RO, header_type),
        Register("BIST", 0x0F, 1, RO), Register("BAR", 0x10, 4, RO, count=6, stride=4, doc="no base address register is implemented"),
        Register("CARDBUS_CIS", 0x28, 4, RO), Register("SUBSYSTEM_VENDOR_ID", 0x2C, 2, RO, subsystem[0]), Register("SUBSYSTEM_ID", 0x2E, 2, RO, subsystem[1]),
        Register("EXPANSION_ROM", 0x30, 4, RO), Register("CAPABILITIES_POINTER", 0x34, 1, RO), Register("HEADER_RSVD", 0x35, 1, RO, count=7, stride=1),
        Register("INTERRUPT_LINE", 0x3C, 1, RW, doc="for software alone"), Register("INTERRUPT_PIN", 0x3D, 1, RO, interrupt_pin),
        Register("MIN_GNT", 0x3E, 1, RO), Register("MAX_LAT", 0x3F, 1, RO),
    )


def layout(*registers: Register) -> Layout:
    """The configuration block of a function. Unimplemented registers read 0 and writes to them are lost (6.1)."""
    return Layout("config", CONFIG_SIZE, registers)


S = TypeVar("S")


class PciFunction(Chip[S]):
    """A function: a chip with a block "config"."""

    @property
    def config(self) -> BusDevice:
        """Its configuration space."""
        return self.blocks["config"]


class PciBus:
    """Bus 0: functions by slot and number.

    Args:
        log: told of configuration accesses beyond the space of a function.
    """

    def __init__(self, log: AccessLog) -> None:
        self._log = log
        self.functions: dict[tuple[int, int], PciFunction[Any]] = {}

    def plug(self, slot: int, function: int, device: PciFunction[Any]) -> None:
        """Put a function on the bus. Raises ValueError if the place is taken or is none."""
        if not (0 <= slot < SLOTS and 0 <= function < FUNCTIONS) or (slot, function) in self.functions:
            raise ValueError(f"00:{slot:02x}.{function} is taken, or no place on a bus")
        self.functions[slot, function] = device

    def find(self, bus: int, devfn: int) -> PciFunction[Any] | None:
        """The function at a bus, and slot << 3 | function."""
        return self.functions.get((devfn >> 3, devfn & 7)) if bus == 0 else None

    def read(self, bus: int, devfn: int, offset: int, size: int) -> int:
        """A configuration read; nobody answers: all ones."""
        function = self.find(bus, devfn)
        return (1 << 8 * size) - 1 if function is None else function.config.read(offset, size)

    def write(self, bus: int, devfn: int, offset: int, size: int, value: int) -> None:
        """A configuration write; nobody answers: lost."""
        function = self.find(bus, devfn)
        if function is not None:
            function.config.write(offset, size, value)

    def peek(self, bus: int, devfn: int, offset: int, size: int) -> int:
        """As `read`, without side effects."""
        function = self.find(bus, devfn)
        return (1 << 8 * size) - 1 if function is None else function.config.peek(offset, size)
