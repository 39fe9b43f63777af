"""The two ports through which software resets a PC: RST_CNT at 0xCF9 and the PS/2 system control port A at 0x92.

Sources: Intel ICH9 data sheet (316972-004), 13.7.1 "RST_CNT: Reset Control Register"; IBM PS/2 Hardware Interface Technical Reference, "System Control Port A".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.core.irq import IrqLine
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, Chip, Field, Layout, Register
from devices.core.reset import ResetKind

RST_CNT = Register("RST_CNT", 0, 1, RW, fields=(
    Field("RSVD0", 0, RO), Field("SYS_RST", 1, doc="1: hard reset, 0: the processors only"), Field("RST_CPU", 2, doc="0 to 1 starts the reset"),
    Field("FULL_RST", 3, doc="with a power cycle"), Field("RSVD4", (7, 4), RO)), doc="reset control")
PORT_A = Register("PORT_A", 0, 1, RW, fields=(
    Field("FAST_RESET", 0, doc="0 to 1 resets the processors"), Field("A20", 1, doc="address line 20 is passed on"), Field("OTHER", (7, 2), RW)),
    doc="system control port A")
SYS_RST, RST_CPU, FULL_RST = RST_CNT["SYS_RST"].mask, RST_CNT["RST_CPU"].mask, RST_CNT["FULL_RST"].mask
FAST_RESET, FAST_A20 = PORT_A["FAST_RESET"].mask, PORT_A["A20"].mask


@dataclass
class ResetState:
    """RST_CNT."""

    rst_cnt: int = 0


class ResetControl(Chip[ResetState]):
    """Port 0xCF9, byte accesses. Args: `reset` gets the kind that was asked for."""

    NAME = "rst_cnt"
    BLOCKS = (Layout("port", 1, (RST_CNT,)),)

    def __init__(self, log: AccessLog, reset: Callable[[ResetKind], None]) -> None:
        super().__init__(log)
        self._reset = reset

    def on_RST_CNT(self, value: int, old: int) -> None:
        if value & ~old & RST_CPU:
            kind = ResetKind.INIT if not value & SYS_RST else ResetKind.POWER_CYCLE if value & FULL_RST else ResetKind.HARD
            self._reset(kind)


@dataclass
class PortAState:
    """Port 0x92."""

    port_a: int = 0


class SystemControlPortA(Chip[PortAState]):
    """Port 0x92. Args: `reset` is called for a fast reset. `a20` is high while it lets address line 20 through."""

    NAME = "port92"
    BLOCKS = (Layout("port", 1, (PORT_A,)),)

    def __init__(self, log: AccessLog, reset: Callable[[ResetKind], None]) -> None:
        super().__init__(log)
        self._reset = reset
        self.a20 = IrqLine(name="FAST_A20")

    def on_PORT_A(self, value: int, old: int) -> None:
        self.a20.set(value & FAST_A20 != 0)
        if value & ~old & FAST_RESET:
            self._reset(ResetKind.INIT)

    def on_reset(self) -> None:
        """The keyboard controller alone says what becomes of A20."""
        self.on_restore()

    def on_restore(self) -> None:
        """The line follows the state."""
        self.a20.set(self.state.port_a & FAST_A20 != 0)
