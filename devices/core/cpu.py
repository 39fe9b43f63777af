"""What an interrupt controller can do to one processor."""

from __future__ import annotations

from typing import Protocol


class CpuPort(Protocol):
    """The interrupt pins of one vCPU, as its LAPIC sees them."""

    def post(self, vector: int) -> None:
        """Offer this vector; the processor takes it when it can. Replaces an earlier offer."""

    def withdraw(self) -> None:
        """Offer nothing any more."""

    def taken(self) -> int | None:
        """The offered vector, once, if the processor has taken it since the last call.

        The processor acknowledges without calling back, so ask before every EOI, offer or register read.
        """

    def nmi(self) -> None:
        """Assert NMI (an edge)."""

    def init(self) -> None:
        """INIT: reset the processor and let it wait for a start-up message."""

    def startup(self, vector: int) -> None:
        """SIPI: start at physical address `vector` * 4096, if the processor waits for it."""
