"""MSI-X: interrupts as messages, each vector with an address and data of its own.

Specification: PCI Local Bus 3.0, 6.8.2 "MSI-X Capability and Table Structures". The capability's registers are a function's (`capability`); table and
pending bits are a chip of their own behind one of the function's base addresses, the table at its start.

A function calls `notify(vector)`. A vector that is masked, alone or with all others, becomes pending, and its message goes when the mask falls (6.8.2.6).

Not modelled: more than `MAX_VECTORS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from devices.core.declare import RO, RW, Field, Layout, Register
from devices.core.dma import DmaFault, DmaPort
from devices.core.log import AccessLog
from devices.core.registers import Chip

CAPABILITY_ID = 0x11
CAPABILITY_SIZE = 12
MAX_VECTORS = 32                       # of one function here; the specification's most is 2,048
PBA_OFFSET = 0x400
REGION = 0x800                         # bytes of the base address that both need

ENABLE, FUNCTION_MASK = 1 << 15, 1 << 14
VECTOR_MASK = 1 << 0
CONTROL_FIELDS = (Field("TABLE_SIZE", (10, 0), RO, doc="vectors less 1"), Field("RSVD", (13, 11), RO), Field("FUNCTION_MASK", 14), Field("ENABLE", 15))


def capability(offset: int, bar: int, vectors: int, following: int = 0) -> tuple[Register, ...]:
    """The capability's registers at `offset` of a function's configuration space.

    Args:
        offset: a multiple of 4.
        bar: the base address register that leads to the table.
        vectors: 1..`MAX_VECTORS`.
        following: offset of the next capability, 0 for none.

    Raises:
        ValueError: there cannot be so many vectors.
    """
    if not 1 <= vectors <= MAX_VECTORS:
        raise ValueError(f"{vectors} vectors: 1 to {MAX_VECTORS} are possible")
    return (
        Register("MSIX_ID", offset, 1, RO, CAPABILITY_ID), Register("MSIX_NEXT", offset + 1, 1, RO, following),
        Register("MSIX_CONTROL", offset + 2, 2, RW, vectors - 1, CONTROL_FIELDS, "MSI-X message control"),
        Register("MSIX_TABLE", offset + 4, 4, RO, bar, doc="where the table is: offset, and base address register"),
        Register("MSIX_PBA", offset + 8, 4, RO, PBA_OFFSET | bar, doc="where the pending bits are"))


@dataclass
class State:
    """Table, pending bits, and what was written to MSIX_CONTROL, which the function shows and passes on to `control`."""

    address_low: list[int] = field(default_factory=lambda: [0] * MAX_VECTORS)
    address_high: list[int] = field(default_factory=lambda: [0] * MAX_VECTORS)
    data: list[int] = field(default_factory=lambda: [0] * MAX_VECTORS)
    mask: list[int] = field(default_factory=lambda: [VECTOR_MASK] * MAX_VECTORS)
    pending: int = 0
    msix_control: int = 0


class Msix(Chip[State]):
    """Table and pending bits of one function: `blocks["table"]`, `REGION` bytes.

    Args:
        log: told of messages that get lost.
        dma: the function's own, which says who sends.
        name: e.g. "virtio-blk msix".
    """

    NAME = "msix"
    BLOCKS = (Layout("table", REGION, (
        Register("ADDRESS_LOW", 0x0, 4, RW, fields=(Field("ZERO", (1, 0), RO), Field("ADDRESS", (31, 2))), doc="of the message", count=MAX_VECTORS, stride=16),
        Register("ADDRESS_HIGH", 0x4, 4, RW, count=MAX_VECTORS, stride=16),
        Register("DATA", 0x8, 4, RW, doc="of the message", count=MAX_VECTORS, stride=16),
        Register("MASK", 0xC, 4, RW, VECTOR_MASK, (Field("MASKED", 0), Field("RSVD", (31, 1), RO)), "vector control", count=MAX_VECTORS, stride=16),
        Register("PENDING", PBA_OFFSET, 4, RO, doc="a bit a vector"), Register("PENDING_HIGH", PBA_OFFSET + 4, 4, RO),
    )),)

    def __init__(self, log: AccessLog, dma: DmaPort, name: str = "") -> None:
        super().__init__(log, name)
        self._dma = dma

    @property
    def enabled(self) -> bool:
        """Whether the function uses messages, and not its pin."""
        return self.state.msix_control & ENABLE != 0

    def control(self, value: int) -> None:
        """The function's MSIX_CONTROL was written."""
        self.state.msix_control = value
        self._send_pending()

    def notify(self, vector: int) -> None:
        """The function wants an interrupt. Without MSI-X nothing happens: the caller then has its pin."""
        if not self.enabled or not 0 <= vector < MAX_VECTORS:
            return
        if self._masked(vector):
            self.state.pending |= 1 << vector
        else:
            self._send(vector)

    def peek_PENDING(self) -> int:
        return self.state.pending

    def on_MASK(self, _vector: int, _value: int) -> None:
        self._send_pending()

    def _masked(self, vector: int) -> bool:
        return bool(self.state.msix_control & FUNCTION_MASK or self.state.mask[vector] & VECTOR_MASK)

    def _send_pending(self) -> None:
        state = self.state
        for vector in range(MAX_VECTORS):
            if self.enabled and state.pending >> vector & 1 and not self._masked(vector):
                state.pending &= ~(1 << vector)
                self._send(vector)

    def _send(self, vector: int) -> None:
        state = self.state
        address = state.address_high[vector] << 32 | state.address_low[vector]
        try:
            self._dma.write(address, state.data[vector].to_bytes(4, "little"))
        except DmaFault as fault:
            self.log.note(self.name, f"DATA{vector}", f"message lost: {fault.reason}", address=address)
