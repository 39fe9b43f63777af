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


class ManualCpu:
    """A `CpuPort` without a processor: takes what is offered when a test says so.

    Attributes:
        offered: the vector on offer, None if there is none.
        events: what else it was told, in order: "nmi", "init", "startup 9f".
    """

    def __init__(self) -> None:
        self.offered: int | None = None
        self.events: list[str] = []
        self._taken: int | None = None

    def take(self) -> int | None:
        """Acknowledge what is on offer, as a processor with interrupts enabled would."""
        self._taken, self.offered = self.offered, None
        return self._taken

    def post(self, vector: int) -> None:
        """Offer `vector`."""
        self.offered = vector

    def withdraw(self) -> None:
        """Offer nothing."""
        self.offered = None

    def taken(self) -> int | None:
        """What `take` took, once."""
        vector, self._taken = self._taken, None
        return vector

    def nmi(self) -> None:
        """Remembered in `events`."""
        self.events.append("nmi")

    def init(self) -> None:
        """Remembered in `events`; nothing is on offer any more."""
        self.offered = self._taken = None
        self.events.append("init")

    def startup(self, vector: int) -> None:
        """Remembered in `events`."""
        self.events.append(f"startup {vector:x}")
