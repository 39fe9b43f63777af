"""Disks for guests: a file of the host's, or bytes; written through, read-only, or with writes that the machine keeps to itself.

Offsets and lengths are bytes, multiples of `SECTOR`; whoever calls has checked that they are on the disk.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
from collections.abc import Iterator
from typing import Protocol

SECTOR = 512
BLOCK = 4096                           # bytes that `Overlay` keeps together


class DiskError(Exception):
    """A disk cannot be had, or not be read or written; one line with its name."""


class Access(enum.Enum):
    """What becomes of a guest's writes. The values are those of the command line."""

    THROUGH = "rw"                     # they reach the file at once
    READ_ONLY = "ro"                   # there are none
    PRIVATE = "snapshot"               # they stay in the machine: in its checkpoints, forks and snapshots, and end with it


class Storage(Protocol):
    """Bytes by offset; all raise DiskError."""

    def read(self, offset: int, length: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def flush(self) -> None: ...


class Disk(Storage, Protocol):
    """What a block device is made of.

    Attributes:
        name: for people.
        size: bytes.
    """

    name: str
    size: int
    access: Access

    def stamp(self) -> str:
        """Differs when the contents, without what a machine keeps to itself, have changed."""


class MemoryDisk:
    """Bytes as a disk. Writes are the machine's own, so that each machine and fork sees its own disk. Raises DiskError if they are no whole sectors."""

    access = Access.PRIVATE

    def __init__(self, data: bytes, name: str = "memory") -> None:
        self.name, self.size, self._data = name, _whole_sectors(len(data), name), data

    def read(self, offset: int, length: int) -> bytes:
        """As they were at the start."""
        return self._data[offset:offset + length]

    def write(self, offset: int, data: bytes) -> None:
        """Nothing comes here: writes are private."""
        raise DiskError(f"disk {self.name}: it is not written to")

    def flush(self) -> None:
        """Nothing to do."""

    def stamp(self) -> str:
        """Its size; the bytes never change."""
        return str(self.size)


class FileDisk:
    """A file as a disk, locked against others that would write to it meanwhile.

    Raises:
        DiskError: it cannot be opened, is in use, or has no whole number of sectors.
    """

    def __init__(self, path: str | os.PathLike[str], access: Access) -> None:
        self.name, self.access = os.fspath(path), access
        self._file: int | None = None
        writes = access is Access.THROUGH
        with self._named():
            self._file = os.open(self.name, (os.O_RDWR if writes else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            with self._named():
                fcntl.flock(self._descriptor, (fcntl.LOCK_EX if writes else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                self.size = _whole_sectors(os.lseek(self._descriptor, 0, os.SEEK_END), self.name)
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file. Raises DiskError, also if it has become shorter."""
        data = b""
        with self._named():
            while len(data) < length:
                more = os.pread(self._descriptor, length - len(data), offset + len(data))
                if not more:
                    raise DiskError(f"disk {self.name}: the file has become shorter")
                data += more
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Bytes to the file. Raises DiskError."""
        with self._named():
            while data:
                written = os.pwrite(self._descriptor, data, offset)
                offset, data = offset + written, data[written:]

    def flush(self) -> None:
        """What was written is on the host's own disk. Raises DiskError."""
        if self.access is Access.THROUGH:
            with self._named():
                os.fsync(self._descriptor)

    def stamp(self) -> str:
        """Its size, and where writes reach the file when that was last written."""
        if self.access is not Access.THROUGH:
            return str(self.size)
        with self._named():
            return f"{self.size}:{os.fstat(self._descriptor).st_mtime_ns}"

    def close(self) -> None:
        """Let go of the file. Once is enough."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()

    @property
    def _descriptor(self) -> int:
        if self._file is None:
            raise DiskError(f"disk {self.name}: it is closed")
        return self._file

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """The host's errors as this disk's."""
        try:
            yield
        except BlockingIOError:
            raise DiskError(f"disk {self.name}: another machine uses it") from None
        except OSError as error:
            raise DiskError(f"disk {self.name}: {error.strerror or error}") from None


class Overlay:
    """A disk with blocks over it that have been written.

    Args:
        disk: below, of at least one sector.
        blocks: by number; changed by writes.
    """

    def __init__(self, disk: Disk, blocks: dict[int, bytes]) -> None:
        self._disk, self._blocks = disk, blocks

    def read(self, offset: int, length: int) -> bytes:
        """Bytes as last written, below where never. Raises DiskError."""
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        if not any(number in self._blocks for number in range(first, last + 1)):
            return self._disk.read(offset, length)
        whole = b"".join(self._block(number) for number in range(first, last + 1))
        return whole[offset - first * BLOCK:][:length]

    def write(self, offset: int, data: bytes) -> None:
        """Bytes over the disk. Raises DiskError where a block's other bytes cannot be read."""
        at = 0
        while at < len(data):
            number, within = divmod(offset + at, BLOCK)
            part = data[at:at + BLOCK - within]
            if len(part) < BLOCK:
                old = self._block(number)
                part = old[:within] + part + old[within + len(part):]
            self._blocks[number] = part
            at += BLOCK - within

    def flush(self) -> None:
        """Nothing lasts longer than the machine."""

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            block = self._disk.read(number * BLOCK, min(BLOCK, self._disk.size - number * BLOCK)).ljust(BLOCK, b"\0")
        return block


def _whole_sectors(size: int, name: str) -> int:
    if size == 0 or size % SECTOR:
        raise DiskError(f"disk {name}: {size} bytes are no whole number of sectors of {SECTOR} bytes")
    return size
