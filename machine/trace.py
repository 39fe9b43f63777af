"""What happens between processors and chips, as lines of text: every register access by name, every interrupt taken, every DMA transfer.

    17254896 cpu0 lapic0: EOI <- 0x0
    17254912 cpu1 takes interrupt 0xec
    17255016 dma reads 16 bytes at 0x7fe0
    17255120 00:01.0 dma writes 100 bytes at 0x200000

The first number is nanoseconds of virtual time. With the instruction clock two runs of the same inputs give the same bytes. An interrupt's line stands where it
was noticed that the processor has taken it, which is before the next access to its local APIC.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devices.core.registers import Chip, Touch
    from machine.machine import Machine

Write = Callable[[bytes], None]
INTERRUPTS, DMA = "interrupts", "dma"


class Trace:
    """Writes the trace of a machine from now on.

    Args:
        machine: whose.
        write: gets one line at a time.
        only: names of the chips to tell of, and `INTERRUPTS` and `DMA`; None is all.
    """

    def __init__(self, machine: Machine, write: Write, only: Collection[str] | None = None) -> None:
        self._machine, self._write = machine, write
        for chip in machine.board.chips:
            if only is None or chip.name in only:
                chip.trace = self._teller(chip)
        if only is None or INTERRUPTS in only:
            machine.engine.on_interrupt = self.interrupt
        if only is None or DMA in only:
            machine.board.dma.trace = self._transfer

    def close(self) -> None:
        """Write no more."""
        for chip in self._machine.board.chips:
            chip.trace = None
        self._machine.engine.on_interrupt = None
        self._machine.board.dma.trace = None

    def _teller(self, chip: Chip[Any]) -> Callable[[Touch], None]:
        def tell(touch: Touch) -> None:
            self._line(f"cpu{self._machine.engine.current} {chip.explain(touch)}")

        return tell

    def interrupt(self, cpu: int, vector: int) -> None:
        """A processor has taken an interrupt."""
        self._line(f"cpu{cpu} takes interrupt {vector:#x}")

    def _transfer(self, writing: bool, iova: int, length: int, requester: int | None) -> None:
        sender = "" if requester is None else f"{requester >> 8:02x}:{requester >> 3 & 0x1F:02x}.{requester & 7} "
        self._line(f"{sender}dma {'writes' if writing else 'reads'} {length} bytes at {iova:#x}")

    def _line(self, text: str) -> None:
        self._write(f"{self._machine.clock.now()} {text}\n".encode())
