"""Port 0x61, "NMI Status and Control": the odds and ends of the AT's system board.

Specification: Intel ICH9 data sheet (316972), section 13.7.1. Bits 0 and 1 work the speaker's timer channel, bits 2 and 3 mask two sources of NMI,
bits 4 and 5 show timers.

Not modelled: a sound from the speaker. Nothing on this board asserts SERR# or IOCHK# by itself; `system_error` and `channel_check` are there for who wants to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.core.clock import VirtualClock
from devices.core.log import AccessLog
from devices.core.registers import RO, RW, Chip, Field, Layout, Register
from devices.pit8254 import Pit8254

REFRESH = 15_085                     # ns between DRAM refreshes, each of which toggles bit 4

GATE, SPEAKER, SERR_MASK, IOCHK_MASK, TOGGLE, OUT, IOCHK, SERR = 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80
SPEAKER_CHANNEL = 2


@dataclass
class State:
    """Bits 3-0 as written, bits 7-6 as raised."""

    nmi_sc: int = 0


class Port61(Chip[State]):
    """The one register.

    Args:
        clock: for the refresh toggle.
        pit: whose channel 2 hangs on it.
        log: told of a guest's mistakes.
        nmi: called when an unmasked error arrives.
    """

    NAME = "port61"
    BLOCKS = (Layout("registers", 1, (
        Register("NMI_SC", 0, 1, RW, doc="NMI status and control", fields=(
            Field("TIM_CNT2_EN", 0, doc="GATE of timer channel 2"), Field("SPKR_DAT_EN", 1, doc="speaker follows timer channel 2"),
            Field("PCI_SERR_EN", 2, doc="1 masks and clears SERR"), Field("IOCHK_NMI_EN", 3, doc="1 masks and clears IOCHK"),
            Field("REF_TOGGLE", 4, RO, doc="toggles with each refresh"), Field("TMR2_OUT", 5, RO, doc="OUT of timer channel 2"),
            Field("IOCHK_NMI_STS", 6, RO), Field("SERR_NMI_STS", 7, RO))),
    )),)

    def __init__(self, clock: VirtualClock, pit: Pit8254, log: AccessLog, nmi: Callable[[], None] | None = None, name: str = "") -> None:
        super().__init__(log, name)
        self._clock = clock
        self._pit = pit
        self._nmi = nmi

    def peek_NMI_SC(self) -> int:
        return self.state.nmi_sc | (self._clock.now() // REFRESH & 1) * TOGGLE | self._pit.out(SPEAKER_CHANNEL) * OUT

    def on_NMI_SC(self, value: int, old: int) -> None:
        if value & SERR_MASK:
            value &= ~SERR
        if value & IOCHK_MASK:
            value &= ~IOCHK
        self.state.nmi_sc = value
        if (value ^ old) & GATE:
            self._pit.set_gate(SPEAKER_CHANNEL, value & GATE != 0)

    def system_error(self) -> None:
        """SERR# is asserted: an NMI, unless bit 2 masks it."""
        self._error(SERR, SERR_MASK)

    def channel_check(self) -> None:
        """IOCHK# is asserted: an NMI, unless bit 3 masks it."""
        self._error(IOCHK, IOCHK_MASK)

    def _error(self, status: int, mask: int) -> None:
        if not self.state.nmi_sc & mask:
            self.state.nmi_sc |= status
            if self._nmi is not None:
                self._nmi()

    def on_reset(self) -> None:
        """Bit 0 is low again, and with it channel 2's GATE."""
        self._pit.set_gate(SPEAKER_CHANNEL, False)
