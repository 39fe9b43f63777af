"""The LPC bridge of an ICH9 (8086:2918, 00:1f.0): where PCI interrupts go, and where the ACPI registers are.

Specification: Intel ICH9 data sheet (316972-004), chapter 13 "LPC Interface Bridge Registers (D31:F0)".

PMBASE and ACPI_CNTL move the ACPI block, PIRQx_ROUT route interrupts to the 8259A pair, RCBA is told to whoever maps the chipset's own registers; GPIO,
decode ranges, power-management options and the protection of firmware are kept but lead nowhere. The ACPI block is enabled at a board's address at reset,
as if firmware had been there already, so that kernels booted without one find it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from devices.core.declare import RO, RW, TODO, Field, Register
from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.pci.config_space import BRIDGE_ISA, MULTI_FUNCTION, HeaderState, PciFunction, header, layout

PIRQS = 8
NOT_ROUTED = 0x80
PM_BASE_MASK = 0xFF80
RCBA_BASE = 0xFFFFC000
ACPI_ENABLE = 0x80
ROUTABLE = frozenset({3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15})       # 13.1.10: the others are reserved

COMMAND, STATUS = 0x0007, 0x0210
CAPABILITY = 0xE0
CAPABILITY_ID = 0x100C0009               # 13.1.32: vendor-specific, the last of the list, 12 bytes, version 1.0

ROUTE = (Field("IRQEN", 7, doc="0: routed"), Field("RSVD", (6, 4), RO), Field("IR", (3, 0), doc="ISA interrupt"))


@dataclass
class LpcState(HeaderState):
    """What software can change."""

    command: int = COMMAND
    status: int = STATUS
    pmbase: int = 1
    acpi_cntl: int = 0
    gpiobase: int = 1
    gpio_cntl: int = 0
    pirq_a_d: list[int] = field(default_factory=lambda: [NOT_ROUTED] * 4)
    sirq_cntl: int = 0x10
    pirq_e_h: list[int] = field(default_factory=lambda: [NOT_ROUTED] * 4)
    lpc_io_dec: int = 0
    lpc_en: int = 0
    gen_dec: list[int] = field(default_factory=lambda: [0] * 4)
    gen_pmcon_1: int = 0
    gen_pmcon_2: int = 0
    gen_pmcon_3: int = 0
    gen_pmcon_lock: int = 0
    bm_break_en: int = 0
    pmir: int = 0
    gpi_rout: int = 0
    fwh_sel1: int = 0x00112233
    fwh_sel2: int = 0x4567
    fwh_dec_en1: int = 0xFFCF
    bios_cntl: int = 0
    rcba: int = 0
    levels: list[bool] = field(default_factory=lambda: [False] * PIRQS)


class LpcBridge(PciFunction[LpcState]):
    """00:1f.0.

    Args:
        log: as every chip's.
        isa_irq: (number, level) drives an interrupt of the 8259A pair; PIRQs that share one are combined here.
        pm_base: (port or None) moves the ACPI block or takes it away.
        reset_pm_base: where it is after a reset.
        chipset: (address or None) moves the chipset's own registers or takes them away.

    Attributes:
        pirq: PIRQA#..PIRQH# as lines, high while asserted.
    """

    NAME = "lpc"
    BLOCKS = (layout(
        *header(0x8086, 0x2918, 2, BRIDGE_ISA, MULTI_FUNCTION, command=COMMAND, status=STATUS, capabilities=CAPABILITY),
        Register("PMBASE", 0x40, 4, RW, 1, (Field("SPACE", 0, RO, doc="I/O"), Field("RSVD", (6, 1), RO), Field("BASE", (15, 7)), Field("RSVD16", (31, 16), RO)),
                 doc="ACPI base address"),
        Register("ACPI_CNTL", 0x44, 1, RW, fields=(Field("SCI_IRQ_SEL", (2, 0), TODO, doc="0: IRQ 9"), Field("RSVD", (6, 3), RO), Field("ACPI_EN", 7)),
                 doc="ACPI control"),
        Register("GPIOBASE", 0x48, 4, RW, 1, (Field("SPACE", 0, RO), Field("RSVD", (6, 1), RO), Field("BASE", (15, 7)), Field("RSVD16", (31, 16), RO))),
        Register("GPIO_CNTL", 0x4C, 1, RW, fields=(Field("RSVD", (3, 0), RO), Field("GPIO_EN", 4), Field("RSVD5", (7, 5), RO))),
        Register("PIRQ_A_D", 0x60, 1, RW, NOT_ROUTED, ROUTE, "routing of PIRQA#..PIRQD#", count=4, stride=1),
        Register("SIRQ_CNTL", 0x64, 1, RW, 0x10, doc="serial interrupts"),
        Register("PIRQ_E_H", 0x68, 1, RW, NOT_ROUTED, ROUTE, "routing of PIRQE#..PIRQH#", count=4, stride=1),
        Register("LPC_IO_DEC", 0x80, 2, RW, doc="decode ranges of COM, LPT, FDD"), Register("LPC_EN", 0x82, 2, RW, doc="which of them are decoded"),
        Register("GEN_DEC", 0x84, 4, RW, count=4, stride=4, doc="generic decode ranges"),
        Register("GEN_PMCON_1", 0xA0, 2, RW, doc="power-management options"), Register("GEN_PMCON_2", 0xA2, 1, RW), Register("GEN_PMCON_3", 0xA4, 1, RW),
        Register("GEN_PMCON_LOCK", 0xA6, 1, RW), Register("BM_BREAK_EN", 0xAB, 1, RW), Register("PMIR", 0xAC, 4, RW),
        Register("GPI_ROUT", 0xB8, 4, RW, doc="what inputs raise"),
        Register("FWH_SEL1", 0xD0, 4, RW, 0x00112233, doc="firmware hubs"), Register("FWH_SEL2", 0xD4, 2, RW, 0x4567),
        Register("FWH_DEC_EN1", 0xD8, 2, RW, 0xFFCF), Register("BIOS_CNTL", 0xDC, 1, RW, doc="protection of firmware"),
        Register("FDCAP", CAPABILITY, 4, RO, CAPABILITY_ID), Register("FDVCT", CAPABILITY + 4, 4, RO, count=2, stride=4, doc="no feature is disabled"),
        Register("RCBA", 0xF0, 4, RW, fields=(Field("ENABLE", 0), Field("RSVD", (13, 1), RO), Field("BASE", (31, 14))), doc="root complex base address"),
    ),)

    def __init__(self, log: AccessLog, isa_irq: Callable[[int, bool], None], pm_base: Callable[[int | None], None], reset_pm_base: int,
                 chipset: Callable[[int | None], None] | None = None) -> None:
        self._chipset = chipset
        self._isa_irq, self._pm_base, self._reset_pm_base = isa_irq, pm_base, reset_pm_base
        self._driven: dict[int, bool] = {}
        super().__init__(log)
        self.pirq = [IrqLine(self._input(number), f"PIRQ{chr(ord('A') + number)}") for number in range(PIRQS)]

    def initial(self) -> LpcState:
        return LpcState(pmbase=self._reset_pm_base | 1, acpi_cntl=ACPI_ENABLE)

    def on_reset(self) -> None:
        """Routes are gone; the lines are as the functions drive them."""
        self.state.levels[:] = [line.level for line in self.pirq]
        self.on_restore()

    def on_restore(self) -> None:
        """Addresses and interrupts follow the state."""
        super().on_restore()
        self._place()
        self._place_chipset()
        self._route()

    def on_PMBASE(self, value: int, old: int) -> None:
        if value != old:
            self._place()

    def on_ACPI_CNTL(self, value: int, old: int) -> None:
        if (value ^ old) & ACPI_ENABLE:
            self._place()

    def on_RCBA(self, value: int, old: int) -> None:
        if value != old:
            self._place_chipset()

    def on_PIRQ_A_D(self, _index: int, _value: int) -> None:
        self._route()

    def on_PIRQ_E_H(self, _index: int, _value: int) -> None:
        self._route()

    def _input(self, number: int) -> Callable[[bool], None]:
        def changed(level: bool) -> None:
            self.state.levels[number] = level
            self._route()

        return changed

    def _place(self) -> None:
        """Tell where the ACPI block is now."""
        base = self.state.pmbase & PM_BASE_MASK
        self._pm_base(base if base and self.state.acpi_cntl & ACPI_ENABLE else None)

    def _place_chipset(self) -> None:
        """Tell where the chipset's own registers are now."""
        if self._chipset is not None:
            self._chipset(self.state.rcba & RCBA_BASE if self.state.rcba & 1 else None)

    def _route(self) -> None:
        """Drive each ISA interrupt that some PIRQ is routed to, or was."""
        wanted: dict[int, bool] = dict.fromkeys(self._driven, False)
        for route, level in zip([*self.state.pirq_a_d, *self.state.pirq_e_h], self.state.levels, strict=True):
            if not route & NOT_ROUTED and route & 0xF in ROUTABLE:
                wanted[route & 0xF] = wanted.get(route & 0xF, False) or level
        for number, level in wanted.items():
            if self._driven.get(number, False) != level:
                self._driven[number] = level
                self._isa_irq(number, level)
