"""Split virtqueues: how a driver hands buffers to a device, and gets them back.

Specification: VirtIO 1.2 (OASIS, csd01), 2.7 "Split Virtqueues"; 2.7.5.3 "Indirect Descriptors", 2.7.7 and 2.7.10 on suppressing notifications.

A queue knows neither its device nor its transport. A device walks it, `for chain in queue: ...; chain.complete(written)`; whatever a driver can do wrong on
the way is a `DriverError`, and memory that is not there a `DmaFault`: both end the walk, and the transport answers for them. Nothing of a driver's is believed:
a chain has at most as many descriptors as the queue has at most, and no length leads to an allocation before memory of that length has been seen to exist.

Not modelled: packed virtqueues, VIRTIO_F_IN_ORDER. The device never asks a driver not to notify it: buffers are used while the driver waits for its store.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from devices.core.dma import DmaPort

F_INDIRECT_DESC, F_EVENT_IDX = 1 << 28, 1 << 29          # chapter 6, "Reserved Feature Bits"

DESCRIPTOR = struct.Struct("<QIHH")                      # 2.7.5: addr, len, flags, next
DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4
AVAIL_NO_INTERRUPT = 1                                   # 2.7.6, flags
INDEX, ENTRIES = 2, 4                                    # offsets in either ring of idx and of its entries, behind 16 bits of flags each
AVAIL_ENTRY, USED_ENTRY = 2, 8                           # bytes
USED_ELEMENT = struct.Struct("<II")                      # 2.7.8: id, len
DESCRIPTOR_ALIGNMENT, AVAIL_ALIGNMENT, USED_ALIGNMENT = 16, 2, 4
LONGEST_CHAIN = 1 << 32                                  # 2.7.5.2: bytes


class DriverError(Exception):
    """The driver broke a rule of the specification in a way that leaves the queue without a meaning.

    Attributes:
        reason: which rule, in words that end a line.
        figures: values that show it.
    """

    def __init__(self, reason: str, **figures: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.figures = figures


@dataclass
class Ring:
    """One queue as its driver set it up, and how far the device is: plain values, for the transport's state.

    Attributes:
        size: entries, a power of 2; after a reset the most that the device offers.
        descriptors, driver_area, device_area: where the descriptor table, the available ring and the used ring are.
        available, used: index of the next entry to be taken and to be written; 16 bits, never reduced by the size.
        signalled: what `used` was when a notification was last considered.
    """

    size: int = 0
    enabled: bool = False
    descriptors: int = 0
    driver_area: int = 0
    device_area: int = 0
    available: int = 0
    used: int = 0
    signalled: int = 0

    def check(self) -> None:
        """Raises DriverError if its parts are not aligned as 2.7 demands."""
        for what, address, alignment in (("descriptor table", self.descriptors, DESCRIPTOR_ALIGNMENT), ("available ring", self.driver_area, AVAIL_ALIGNMENT),
                                         ("used ring", self.device_area, USED_ALIGNMENT)):
            if address % alignment:
                raise DriverError(f"{what} not aligned to {alignment} bytes", address=address)


class Piece(NamedTuple):
    """Contiguous bytes of guest memory: address and length."""

    address: int
    length: int


class Chain:
    """The buffers of one request: bytes for the device to read, then bytes for it to write; how they are cut into descriptors means nothing (2.7.4).

    Attributes:
        readable, writable: bytes of either kind.
    """

    __slots__ = ("_head", "_queue", "_readable", "_writable", "readable", "writable")

    def __init__(self, queue: Virtqueue, head: int, readable: Sequence[Piece], writable: Sequence[Piece]) -> None:
        self._queue, self._head, self._readable, self._writable = queue, head, readable, writable
        self.readable = sum(piece.length for piece in readable)
        self.writable = sum(piece.length for piece in writable)

    def read(self, offset: int, length: int) -> bytes:
        """`length` readable bytes from `offset`. Raises DriverError if the driver gave fewer, DmaFault."""
        return b"".join(self._queue.dma.read(*piece) for piece in _cut(self._readable, offset, length, self.readable))

    def write(self, offset: int, data: bytes) -> None:
        """`data` to the writable bytes from `offset`. Raises DriverError if there are fewer, DmaFault."""
        at = 0
        for address, length in _cut(self._writable, offset, len(data), self.writable):
            self._queue.dma.write(address, data[at:at + length])
            at += length

    def complete(self, written: int) -> None:
        """Give the buffers back, of whose writable bytes the first `written` have been. Raises DmaFault."""
        self._queue.give_back(self._head, written)


def _cut(pieces: Sequence[Piece], offset: int, length: int, total: int) -> Iterator[Piece]:
    """The memory of bytes `offset` to `offset + length` of what `pieces` are together."""
    if offset + length > total:
        raise DriverError("request too short", bytes=total, needed=offset + length)
    for piece in pieces:
        if length == 0:
            return
        if offset < piece.length:
            part = min(piece.length - offset, length)
            yield Piece(piece.address + offset, part)
            length -= part
            offset = 0
        else:
            offset -= piece.length


class Virtqueue:
    """The device's end of one queue; made anew each time that it is served, because all that lasts is in `ring`.

    Args:
        index: its number.
        ring: its state, enabled.
        limit: descriptors of the longest chain: the most entries that the device offers.
        dma: to guest memory.
        features: those negotiated.
    """

    def __init__(self, index: int, ring: Ring, limit: int, dma: DmaPort, features: int) -> None:
        self.index = index
        self.features = features
        self.dma = dma
        self._ring = ring
        self._limit = limit

    def __iter__(self) -> Iterator[Chain]:
        """Take what the driver has made available, chain by chain. Raises DriverError, DmaFault."""
        ring = self._ring
        ahead = self._word(ring.driver_area + INDEX) - ring.available & 0xFFFF
        if ahead > ring.size:
            raise DriverError("available index is further ahead than the queue is long", ahead=ahead, size=ring.size)
        for _ in range(ahead):
            head = self._word(ring.driver_area + ENTRIES + AVAIL_ENTRY * (ring.available % ring.size))
            ring.available = ring.available + 1 & 0xFFFF
            yield self._chain(head)
        if self.features & F_EVENT_IDX:                                    # 2.7.10: notify me of the next
            self.dma.write(ring.device_area + ENTRIES + USED_ENTRY * ring.size, ring.available.to_bytes(2, "little"))

    def give_back(self, head: int, written: int) -> None:
        """2.7.8: one more entry of the used ring, then its index. Raises DmaFault."""
        ring = self._ring
        self.dma.write(ring.device_area + ENTRIES + USED_ENTRY * (ring.used % ring.size), USED_ELEMENT.pack(head, written))
        ring.used = ring.used + 1 & 0xFFFF
        self.dma.write(ring.device_area + INDEX, ring.used.to_bytes(2, "little"))

    def notification_due(self) -> bool:
        """Whether the driver wants to hear of what was given back since this was last asked (2.7.7). Raises DmaFault."""
        ring = self._ring
        before, ring.signalled = ring.signalled, ring.used
        if before == ring.used:
            return False
        if self.features & F_EVENT_IDX:
            used_event = self._word(ring.driver_area + ENTRIES + AVAIL_ENTRY * ring.size)
            return ring.used - used_event - 1 & 0xFFFF < (ring.used - before & 0xFFFF)
        return not self._word(ring.driver_area) & AVAIL_NO_INTERRUPT

    def _word(self, address: int) -> int:
        return int.from_bytes(self.dma.read(address, 2), "little")

    def _chain(self, head: int) -> Chain:
        """The chain that begins with descriptor `head`, all rules of 2.7.4 and 2.7.5 checked."""
        table, entries, indirect = self._ring.descriptors, self._ring.size, False
        index, seen, length = head, set[int](), 0
        readable: list[Piece] = []
        writable: list[Piece] = []
        while True:
            if index >= entries:
                raise DriverError("descriptor beyond the end of its table", descriptor=index, entries=entries)
            if index in seen:
                raise DriverError("descriptors chain in a circle", descriptor=index)
            seen.add(index)
            address, size, flags, following = DESCRIPTOR.unpack(self.dma.read(table + DESCRIPTOR.size * index, DESCRIPTOR.size))
            if flags & DESC_INDIRECT:
                self._check_indirect(index, size, flags, indirect)
                table, entries, indirect, index, seen = address, size // DESCRIPTOR.size, True, 0, set()
                continue
            if len(readable) + len(writable) == self._limit:
                raise DriverError("chain of more descriptors than the queue has", head=head)
            length += size
            if length > LONGEST_CHAIN:
                raise DriverError("chain of more than 4 GiB", head=head)
            if flags & DESC_WRITE:
                writable.append(Piece(address, size))
            elif writable:
                raise DriverError("descriptor to be read behind one to be written", descriptor=index)
            else:
                readable.append(Piece(address, size))
            if not flags & DESC_NEXT:
                return Chain(self, head, readable, writable)
            index = following

    def _check_indirect(self, index: int, size: int, flags: int, nested: bool) -> None:
        """2.7.5.3.1: what a driver must not do with a descriptor that leads to a table."""
        if not self.features & F_INDIRECT_DESC:
            raise DriverError("indirect descriptor, which was not negotiated", descriptor=index)
        if nested:
            raise DriverError("indirect descriptor in an indirect table", descriptor=index)
        if flags & DESC_NEXT:
            raise DriverError("indirect descriptor with a next one", descriptor=index)
        if size == 0 or size % DESCRIPTOR.size:
            raise DriverError("indirect table of no whole number of descriptors", descriptor=index, bytes=size)
