"""The host bridge of a Q35 chipset (8086:29C0, 00:00.0) and PCI configuration mechanism 1.

Specifications: Intel 3 Series Express Chipset data sheet (316966-002), 5.1 "DRAM Controller Registers"; PCI Local Bus 3.0, 3.2.2.3.2 "Software Generation
of Configuration Transactions".

PAM0-PAM6 (5.1.18-5.1.24) are told to whoever steers the 13 segments of 0xC0000-0xFFFFF, PCIEXBAR to whoever maps the memory-mapped configuration space
(ecam.py). SMRAM is kept but changes nothing, because there is no system management mode. The other windows (MCHBAR, DMIBAR, EPBAR) and the sizes of memory
are kept and lead nowhere; software that enables such a window is noted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from devices.core.declare import RO, RW, TODO, Field, Layout, Partial, Register
from devices.core.log import AccessLog
from devices.core.registers import Chip
from devices.pci.config_space import BRIDGE_HOST, HeaderState, PciBus, PciFunction, header, layout

COMMAND, STATUS = 0x0006, 0x0090
CAPABILITY = 0xE0
CAPABILITY_ID = 0x010B0009              # CAPID0: vendor-specific, the last of the list, 11 bytes, version 1

PCIEXBAR = Register("PCIEXBAR", 0x60, 8, RW, fields=(
    Field("ENABLE", 0), Field("LENGTH", (2, 1), doc="0: 256 MiB, 1: 128, 2: 64"), Field("RSVD", (25, 3), RO), Field("BASE", (35, 26)),
    Field("RSVD36", (63, 36), RO)), doc="where configuration space is in memory")
PCIEXBAR_SIZES = (256 << 20, 128 << 20, 64 << 20)
PCIEXBAR_BASE = PCIEXBAR["BASE"].mask

MECHANISM_ENABLE = 1 << 31


class Attribute(enum.IntEnum):
    """What a segment's two bits mean (5.1.18, HIENABLE)."""

    DISABLED = 0             # reads and writes go to the bus
    READ_ONLY = 1            # reads go to RAM
    WRITE_ONLY = 2           # writes go to RAM
    NORMAL = 3


PAM = tuple(Register(f"PAM{number}", 0x90 + number, 1, RW, fields=(
    Field("RSVD", (7, 6), RO), Field("HIENABLE", (5, 4), enum=Attribute, doc="0xF0000, 64 KiB" if number == 0 else f"{0xBC000 + 0x8000 * number:#x}, 16 KiB"),
    Field("RSVD2", (3, 2), RO), Field("LOENABLE", (1, 0), enum=Attribute, doc=f"{0xB8000 + 0x8000 * number:#x}, 16 KiB") if number
    else Field("RSVD0", (1, 0), RO)), doc="where accesses to segments below 1 MiB go") for number in range(7))
SEGMENT_FIELDS = (*((register, name) for register in range(1, 7) for name in ("LOENABLE", "HIENABLE")), (0, "HIENABLE"))     # by ascending address


def _window(name: str, offset: int, lowest: int, doc: str) -> Register:
    """A base address of 36 bits for a window that is not there."""
    return Register(name, offset, 8, RW, fields=(
        Field("ENABLE", 0, TODO), Field("RSVD", (lowest - 1, 1), RO), Field("BASE", (35, lowest)), Field("RSVD36", (63, 36), RO)), doc=doc)


@dataclass
class HostBridgeState(HeaderState):
    """What software can change."""

    command: int = COMMAND
    status: int = STATUS
    epbar: int = 0
    mchbar: int = 0
    ggc: int = 0
    deven: int = 1
    pciexbar: int = 0
    dmibar: int = 0
    pam0: int = 0
    pam1: int = 0
    pam2: int = 0
    pam3: int = 0
    pam4: int = 0
    pam5: int = 0
    pam6: int = 0
    lac: int = 0
    remapbase: int = 0x03FF
    remaplimit: int = 0
    smram: int = 0x02
    esmramc: int = 0x38
    tom: int = 1
    touud: int = 0
    tsegmb: int = 0
    tolud: int = 0x0010
    skpd: int = 0


class HostBridge(PciFunction[HostBridgeState]):
    """00:00.0.

    Args:
        ecam: gets (base, length) when software enables memory-mapped configuration space, None when it disables it.
        steer: gets (segment, do reads go to RAM, do writes) when software changes a segment's attribute; segments are numbered upwards from 0xC0000.
    """

    NAME = "host-bridge"
    BLOCKS = (layout(
        *header(0x8086, 0x29C0, 2, BRIDGE_HOST, command=COMMAND, status=STATUS, capabilities=CAPABILITY),
        _window("EPBAR", 0x40, 12, "egress port"), _window("MCHBAR", 0x48, 14, "memory controller"),
        Register("GGC", 0x52, 2, RW, doc="graphics memory"), Register("DEVEN", 0x54, 4, RW, 1, doc="which functions of the chipset are enabled"),
        PCIEXBAR, _window("DMIBAR", 0x68, 12, "link to the south bridge"),
        *PAM,
        Register("LAC", 0x97, 1, RW, doc="legacy access: ISA hole, monochrome adapter"),
        Register("REMAPBASE", 0x98, 2, RW, 0x03FF), Register("REMAPLIMIT", 0x9A, 2, RW),
        Register("SMRAM", 0x9D, 1, RW, 0x02, doc="system management RAM control"), Register("ESMRAMC", 0x9E, 1, RW, 0x38, doc="extended SMRAM control"),
        Register("TOM", 0xA0, 2, RW, 1, doc="top of memory, 64 MiB"), Register("TOUUD", 0xA2, 2, RW, doc="top of upper usable memory, 1 MiB"),
        Register("TSEGMB", 0xAC, 4, RW), Register("TOLUD", 0xB0, 2, RW, 0x0010, doc="top of low usable memory, bits 15-4 in MiB"),
        Register("ERRSTS", 0xC8, 2, RO), Register("SKPD", 0xDC, 4, RW, doc="scratch pad"),
        Register("CAPID0", CAPABILITY, 4, RO, CAPABILITY_ID), Register("CAPABILITIES", CAPABILITY + 4, 4, RO, count=2, stride=4),
    ),)

    def __init__(self, log: AccessLog, ecam: Callable[[tuple[int, int] | None], None] | None = None,
                 steer: Callable[[int, bool, bool], None] | None = None) -> None:
        self._ecam, self._steer = ecam, steer
        super().__init__(log)
        self._tell_pam()

    def on_PCIEXBAR(self, value: int, old: int) -> None:
        if value != old:
            self._tell()

    def on_PAM0(self, value: int, old: int) -> None:
        if value != old:
            self._tell_pam()

    on_PAM1 = on_PAM2 = on_PAM3 = on_PAM4 = on_PAM5 = on_PAM6 = on_PAM0

    def on_restore(self) -> None:
        """Window and segments follow the state."""
        super().on_restore()
        self._tell()
        self._tell_pam()

    def _tell_pam(self) -> None:
        """All segments; who steers them knows which of them changes."""
        if self._steer is None:
            return
        state = self.state
        values = (state.pam0, state.pam1, state.pam2, state.pam3, state.pam4, state.pam5, state.pam6)
        for segment, (register, name) in enumerate(SEGMENT_FIELDS):
            attribute = PAM[register][name].get(values[register])
            self._steer(segment, bool(attribute & Attribute.READ_ONLY), bool(attribute & Attribute.WRITE_ONLY))

    def _tell(self) -> None:
        value = self.state.pciexbar
        code = value >> 1 & 3
        usable = value & 1 and code < len(PCIEXBAR_SIZES)
        if value & 1 and not usable:
            self.log.note(self.name, "PCIEXBAR", "reserved length", value=value)
        if self._ecam is not None:
            self._ecam((value & PCIEXBAR_BASE & -PCIEXBAR_SIZES[code], PCIEXBAR_SIZES[code]) if usable else None)


@dataclass
class AddressState:
    """CONFIG_ADDRESS."""

    config_address: int = 0


class ConfigAddress(Chip[AddressState]):
    """Ports 0xCF8-0xCFB. Only a whole double word is CONFIG_ADDRESS; smaller accesses pass on to what else is there (3.2.2.3.2), usually nothing."""

    NAME = "pci-config"
    BLOCKS = (Layout("port", 4, (Register("CONFIG_ADDRESS", 0, 4, RW, fields=(
        Field("ZERO", (1, 0), RO), Field("REGISTER", (7, 2), doc="double word"), Field("FUNCTION", (10, 8)), Field("DEVICE", (15, 11)), Field("BUS", (23, 16)),
        Field("RSVD", (30, 24), RO), Field("ENABLE", 31)), doc="what CONFIG_DATA leads to"),), Partial.WHOLE, hole=0xFF),)

    def partly_written(self, register: str, size: int, written: int) -> None:
        """How software finds out whether mechanism 1 is there."""


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
