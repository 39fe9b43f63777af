"""virtio-blk: a disk.

Specification: VirtIO 1.2 (OASIS, csd01), 5.2 "Block Device". One queue. Offered: SEG_MAX, RO, BLK_SIZE, FLUSH, WRITE_ZEROES.

Where the bytes are is handed in (devices/backends/disk.py). A disk that keeps a machine's writes private is part of the machine's state; one whose file is
written is not, and going back to a moment before a write is refused.

Not modelled: discard, several queues, a write cache that the driver switches, secure erase, lifetime, zones. A request of more than `LARGEST` bytes fails.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from devices.backends.disk import BLOCK, SECTOR, Access, Disk, DiskError, Overlay, Storage
from devices.core.declare import RO, Layout, Register
from devices.core.log import AccessLog
from devices.core.registers import StateError
from devices.virtio.device import CONFIG, VirtioDevice
from devices.virtio.queue import Chain, DriverError, Virtqueue

F_SEG_MAX, F_RO, F_BLK_SIZE, F_FLUSH, F_WRITE_ZEROES = 1 << 2, 1 << 5, 1 << 6, 1 << 9, 1 << 14      # 5.2.3

# 5.2.6
HEADER = struct.Struct("<IIQ")              # type, reserved, sector
STATUS_SIZE = 1
S_OK, S_IOERR, S_UNSUPP = 0, 1, 2
SEGMENT = struct.Struct("<QII")             # sector, num_sectors, flags
UNMAP = 1 << 0
ID_SIZE = 20

QUEUE_SIZE = 128
LARGEST = 16 << 20                          # bytes of one request; Linux asks for at most 1.25 MiB
CHUNK = 1 << 20                             # bytes moved at once


class Kind(enum.IntEnum):
    """5.2.6, type."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    WRITE_ZEROES = 13


@dataclass
class State:
    """What was written, by blocks of `BLOCK` bytes, where the machine keeps that to itself; and which disk this state belongs to."""

    written: dict[int, bytes] = field(default_factory=dict)
    stamp: str = ""


class Request(NamedTuple):
    """The header of a request."""

    kind: int
    sector: int

    @classmethod
    def parse(cls, chain: Chain) -> Request:
        """Raises DriverError where header or status byte is missing, DmaFault."""
        if chain.writable < STATUS_SIZE:
            raise DriverError("request without a byte for its status", writable=chain.writable)
        kind, _reserved, sector = HEADER.unpack(chain.read(0, HEADER.size))
        return cls(kind, sector)


class VirtioBlk(VirtioDevice[State]):
    """A disk. Args: `disk` is where its bytes are."""

    NAME = "virtio-blk"
    DEVICE_ID = 2
    CLASS_CODE = 0x010000                   # mass storage, SCSI
    QUEUES = MappingProxyType({"requestq": QUEUE_SIZE})
    BLOCKS = (Layout(CONFIG, 0x3C, (
        Register("CAPACITY", 0x00, 8, RO, doc="sectors of 512 bytes"), Register("SIZE_MAX", 0x08, 4, RO),
        Register("SEG_MAX", 0x0C, 4, RO, QUEUE_SIZE - 2, doc="pieces of a request, beside header and status"),
        Register("GEOMETRY", 0x10, 4, RO), Register("BLK_SIZE", 0x14, 4, RO, SECTOR), Register("TOPOLOGY", 0x18, 8, RO),
        Register("WRITEBACK", 0x20, 1, RO), Register("UNUSED0", 0x21, 1, RO), Register("NUM_QUEUES_MQ", 0x22, 2, RO),
        Register("MAX_DISCARD_SECTORS", 0x24, 4, RO), Register("MAX_DISCARD_SEG", 0x28, 4, RO), Register("DISCARD_SECTOR_ALIGNMENT", 0x2C, 4, RO),
        Register("MAX_WRITE_ZEROES_SECTORS", 0x30, 4, RO, LARGEST // SECTOR), Register("MAX_WRITE_ZEROES_SEG", 0x34, 4, RO, 1),
        Register("WRITE_ZEROES_MAY_UNMAP", 0x38, 1, RO), Register("UNUSED1", 0x39, 1, RO, count=3, stride=1))),)

    def __init__(self, log: AccessLog, disk: Disk, name: str = "") -> None:
        self._disk = disk
        super().__init__(log, name)

    @property
    def features(self) -> int:
        """5.2.3."""
        return F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_WRITE_ZEROES | (F_RO if self._disk.access is Access.READ_ONLY else 0)

    def peek_CAPACITY(self) -> int:
        return self._disk.size // SECTOR

    @property
    def _storage(self) -> Storage:
        return Overlay(self._disk, self.state.written) if self._disk.access is Access.PRIVATE else self._disk

    # --- requests (5.2.6) ------------------------------------------------------------------------------------------------------------------
    def process(self, queue: Virtqueue) -> None:
        """Carry out each request; what cannot be done ends with a status, not with a reset."""
        for chain in queue:
            request = Request.parse(chain)
            try:
                status, written = self._carry_out(request, chain, queue.features)
            except DiskError as error:
                self.log.note(self.name, "requestq", str(error), sector=request.sector)
                status, written = S_IOERR, 0
            room = chain.writable - STATUS_SIZE
            chain.write(room, bytes([status]))
            chain.complete(room + STATUS_SIZE if written == room else written)

    def _carry_out(self, request: Request, chain: Chain, features: int) -> tuple[int, int]:
        """Status, and how many bytes of data were written for the driver to read. Raises DiskError, DmaFault."""
        given, wanted = chain.readable - HEADER.size, chain.writable - STATUS_SIZE
        match request.kind:
            case Kind.IN:
                return self._read(request, chain, wanted)
            case Kind.OUT:
                return self._write(request, chain, given, features), 0
            case Kind.FLUSH:
                self._storage.flush()
                return S_OK, 0
            case Kind.GET_ID:
                chain.write(0, Path(self._disk.name).name.encode()[:ID_SIZE].ljust(ID_SIZE, b"\0")[:wanted])
                return S_OK, min(ID_SIZE, wanted)
            case Kind.WRITE_ZEROES:
                return self._write_zeroes(chain, given, features), 0
            case _:
                return S_UNSUPP, 0

    def _read(self, request: Request, chain: Chain, length: int) -> tuple[int, int]:
        if not self._within("read", request.sector, length):
            return S_IOERR, 0
        for at in range(0, length, CHUNK):
            chain.write(at, self._storage.read(request.sector * SECTOR + at, min(CHUNK, length - at)))
        return S_OK, length

    def _write(self, request: Request, chain: Chain, length: int, features: int) -> int:
        if not self._within("write", request.sector, length):
            return S_IOERR
        for at in range(0, length, CHUNK):
            self._storage.write(request.sector * SECTOR + at, chain.read(HEADER.size + at, min(CHUNK, length - at)))
        self._settle(features)
        return S_OK

    def _write_zeroes(self, chain: Chain, length: int, features: int) -> int:
        if length != SEGMENT.size:                      # MAX_WRITE_ZEROES_SEG is 1
            self.log.note(self.name, "requestq", "write zeroes of no single segment", bytes=length)
            return S_IOERR
        sector, sectors, flags = SEGMENT.unpack(chain.read(HEADER.size, SEGMENT.size))
        if flags & ~UNMAP:
            return S_UNSUPP
        if not self._within("write", sector, sectors * SECTOR):
            return S_IOERR
        for at in range(0, sectors * SECTOR, CHUNK):
            self._storage.write(sector * SECTOR + at, bytes(min(CHUNK, sectors * SECTOR - at)))
        self._settle(features)
        return S_OK

    def _within(self, what: str, sector: int, length: int) -> bool:
        """Whether a request can be: noted if not."""
        if what == "write" and self._disk.access is Access.READ_ONLY:
            self.log.note(self.name, "requestq", "write to a disk that is read-only", sector=sector)
        elif length % SECTOR or length > LARGEST:
            self.log.note(self.name, "requestq", f"{what} of no whole number of sectors, or of too many", bytes=length)
        elif sector * SECTOR + length > self._disk.size:
            self.log.note(self.name, "requestq", f"{what} beyond the end of the disk", sector=sector, bytes=length)
        else:
            return True
        return False

    def _settle(self, features: int) -> None:
        """5.2.6.2: to a driver that does not flush, a write that has ended is there to stay."""
        if not features & F_FLUSH:
            self._storage.flush()

    # --- state -----------------------------------------------------------------------------------------------------------------------------
    def save(self) -> dict[str, Any]:
        """With the stamp of the disk that the rest is on."""
        self.state.stamp = self._disk.stamp()
        return super().save()

    def on_restore(self) -> None:
        """Raises StateError if the disk is another, or not as it was."""
        if self.state.stamp and self.state.stamp != self._disk.stamp():
            raise StateError(f"{self.name}: disk {self._disk.name} is not what it was at that moment; writes to its file cannot be undone")
        for number, block in self.state.written.items():
            if not 0 <= number * BLOCK < self._disk.size or len(block) != BLOCK:
                raise StateError(f"{self.name}: block {number} of {len(block)} bytes is not of this disk")
