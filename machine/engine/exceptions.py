"""The last exceptions and software interrupts of each vCPU, which native code writes down as it delivers them (`delivery.RECORD`), for debuggers to read."""

from __future__ import annotations

import ctypes
from ctypes import c_uint64
from dataclasses import dataclass

from machine.engine import abi

KEPT = 16                            # of each vCPU; `delivery.RECORD` knows this and the next
WORDS = 6                            # of one: vector, RIP, error code and whether it is a software interrupt, CR2, base of CS, hflags
SOFTWARE = 1 << 32


@dataclass(frozen=True, slots=True)
class DeliveredException:
    """An exception or software interrupt, as the vCPU stood at that moment.

    Attributes:
        vector: its number in the IDT.
        rip: offset in the code segment of the instruction that did it; for a trap or a software interrupt of the one behind.
        error: its error code, 0 if it has none.
        cr2: the last page fault's address.
        cs_base: where the code segment began.
        bits: 16, 32 or 64: which code it was in.
        ring: in which ring.
        software: an INT, INT3 or INTO instruction has asked for it.
    """

    vector: int
    rip: int
    error: int
    cr2: int
    cs_base: int
    bits: int
    ring: int
    software: bool


class ExceptionRecord:
    """Of all vCPUs.

    Attributes:
        cell: host address of the pointer to the record of the vCPU whose turn it is.
    """

    def __init__(self, cpus: int) -> None:
        self._records = (c_uint64 * ((1 + KEPT * WORDS) * cpus))()
        self._size = 8 * (1 + KEPT * WORDS)
        self._cell = c_uint64(ctypes.addressof(self._records))
        self.cell = ctypes.addressof(self._cell)

    def select(self, cpu: int) -> None:
        """What comes now is of this vCPU."""
        self._cell.value = ctypes.addressof(self._records) + self._size * cpu

    def last(self, cpu: int) -> list[DeliveredException]:
        """Those of a vCPU, oldest first; at most `KEPT`."""
        begin = (1 + KEPT * WORDS) * cpu
        count = self._records[begin]
        places = [begin + 1 + WORDS * (number % KEPT) for number in range(max(0, count - KEPT), count)]
        return [_exception(*self._records[place:place + WORDS]) for place in places]

    def clear(self) -> None:
        """None so far."""
        ctypes.memset(self._records, 0, ctypes.sizeof(self._records))

    def save(self) -> bytes:
        """All of it, for one who takes the machine back in time."""
        return bytes(self._records)

    def restore(self, saved: bytes) -> None:
        """The other way round, in an engine of as many vCPUs."""
        ctypes.memmove(self._records, saved, len(saved))


def _exception(vector: int, rip: int, error: int, cr2: int, cs_base: int, hflags: int) -> DeliveredException:
    bits = 64 if hflags & abi.HF_CS64_MASK else 32 if hflags & abi.HF_CS32_MASK else 16
    return DeliveredException(vector, rip, error & 0xFFFFFFFF, cr2, cs_base, bits, hflags & abi.HF_CPL_MASK, bool(error & SOFTWARE))
