"""The host bridge of a Q35 chipset (8086:29C0, 00:00.0) and PCI configuration mechanism 1.

Specifications: Intel 3 Series Express Chipset data sheet (316966-002), 5.1 "DRAM Controller Registers"; PCI Local Bus 3.0, 3.2.2.3.2 "Software Generation
of Configuration Transactions".

PAM and SMRAM are kept but change nothing: 0xC0000-0xFFFFF is RAM on this board, always readable and writable. PCIEXBAR is told to whoever maps the
memory-mapped configuration space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from devices.core.declare import RO, RW, Field, Layout, Partial, Register
from devices.core.log import AccessLog
from devices.core.registers import Chip
from devices.pci.config_space import BRIDGE_HOST, PciBus, PciFunction, header, layout

PCIEXBAR = Register("PCIEXBAR", 0x60, 8, RW, fields=(
    Field("ENABLE", 0), Field("LENGTH", (2, 1), doc="0: 256 MiB, 1: 128, 2: 64"), Field("RSVD", (25, 3), RO), Field("BASE", (35, 26)),
    Field("RSVD36", (63, 36), RO)), doc="where configuration space is in memory")
PCIEXBAR_SIZES = (256 << 20, 128 << 20, 64 << 20)
PCIEXBAR_BASE = PCIEXBAR["BASE"].mask

MECHANISM_ENABLE = 1 << 31


@dataclass
class HostBridgeState:
    """What software can change."""

    command: int = 0x0006
    status: int = 0x0090
    cache_line_size: int = 0
    latency_timer: int = 0
    interrupt_line: int = 0
    pciexbar: int = 0
    pam: list[int] = field(default_factory=lambda: [0] * 7)
    smram: int = 0x02
    esmramc: int = 0x38


def _with_reset(register: Register, reset: int) -> Register:
    return Register(register.name, register.offset, register.width, register.access, reset, register.fields, register.doc)


_HEADER = tuple(_with_reset(one, {"COMMAND": 0x0006, "STATUS": 0x0090}[one.name]) if one.name in ("COMMAND", "STATUS") else one
                for one in header(0x8086, 0x29C0, 2, BRIDGE_HOST))


class HostBridge(PciFunction[HostBridgeState]):
    """00:00.0. Args: `ecam` gets (base, length) when software enables memory-mapped configuration space, None when it disables it."""

    NAME = "host-bridge"
    BLOCKS = (layout(
        *_HEADER, PCIEXBAR,
        Register("PAM", 0x90, 1, RW, count=7, stride=1, doc="read and write enables of the segments from 0xC0000, in pairs; segment F in the first"),
        Register("SMRAM", 0x9D, 1, RW, 0x02, doc="system management RAM control"), Register("ESMRAMC", 0x9E, 1, RW, 0x38, doc="extended SMRAM control"),
    ),)

    def __init__(self, log: AccessLog, ecam: Callable[[tuple[int, int] | None], None] | None = None) -> None:
        self._ecam = ecam
        super().__init__(log)

    def on_PCIEXBAR(self, value: int, old: int) -> None:
        if value != old:
            self._tell()

    def on_reset(self) -> None:
        self._tell()

    def on_restore(self) -> None:
        self._tell()

    def _tell(self) -> None:
        value = self.state.pciexbar
        code = value >> 1 & 3
        usable = value & 1 and code < len(PCIEXBAR_SIZES)
        if self._ecam is not None:
            self._ecam((value & PCIEXBAR_BASE & -PCIEXBAR_SIZES[code], PCIEXBAR_SIZES[code]) if usable else None)


@dataclass
class AddressState:
    """CONFIG_ADDRESS."""

    config_address: int = 0


class ConfigAddress(Chip[AddressState]):
    """Ports 0xCF8-0xCFB. Only a whole double word is CONFIG_ADDRESS; smaller accesses pass on to what else is there (3.2.2.3.2)."""

    NAME = "pci-config"
    BLOCKS = (Layout("port", 4, (Register("CONFIG_ADDRESS", 0, 4, RW, fields=(
        Field("ZERO", (1, 0), RO), Field("REGISTER", (7, 2), doc="double word"), Field("FUNCTION", (10, 8)), Field("DEVICE", (15, 11)), Field("BUS", (23, 16)),
        Field("RSVD", (30, 24), RO), Field("ENABLE", 31)), doc="what CONFIG_DATA leads to"),), Partial.WHOLE, hole=0xFF),)


class ConfigData:
    """Ports 0xCFC-0xCFF: the double word that CONFIG_ADDRESS names, in bytes, words or as a whole. A `BusDevice`."""

    def __init__(self, address: ConfigAddress, bus: PciBus) -> None:
        self._address, self._bus = address, bus

    def read(self, offset: int, size: int) -> int:
        """A configuration read; all ones where mechanism 1 is switched off."""
        at = self._address.state.config_address
        if not at & MECHANISM_ENABLE:
            return (1 << 8 * size) - 1
        return self._bus.read(at >> 16 & 0xFF, at >> 8 & 0xFF, (at & 0xFC) + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """A configuration write."""
        at = self._address.state.config_address
        if at & MECHANISM_ENABLE:
            self._bus.write(at >> 16 & 0xFF, at >> 8 & 0xFF, (at & 0xFC) + offset, size, value)

    def peek(self, offset: int, size: int) -> int:
        """As `read`, without side effects."""
        at = self._address.state.config_address
        if not at & MECHANISM_ENABLE:
            return (1 << 8 * size) - 1
        return self._bus.peek(at >> 16 & 0xFF, at >> 8 & 0xFF, (at & 0xFC) + offset, size)
