"""Folk-Pack: the archive of programs and data that comes with the nucleus (docs/contracts.md section 4).

Header of 64 bytes: magic `FOLK`, u32 version, u32 entry count. Then 64-byte entries {id u16, type u16, name[32], offset u64, size u64, hash[8], pad}.
An entry's bytes are checked against its hash when they are read, so that one damaged file does not hide the others.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from kernel.errors import ArchiveError

MAGIC = b"FOLK"
VERSION = 1
MAX_ENTRIES = 4096
HEADER = struct.Struct("<4sII")
HEADER_SIZE = 64
ENTRY = struct.Struct("<HH32sQQ8s")
ENTRY_SIZE = 64


class EntryType(IntEnum):
    """What an entry holds."""

    ELF = 0
    DATA = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file; `offset` and `size` in bytes of the archive."""

    id: int
    type: EntryType
    name: str
    offset: int
    size: int
    hash: bytes


class Archive:
    """An archive somewhere in memory, read piece by piece.

    Args:
        read: `read(offset, length)` gives bytes of the archive.
        size: bytes of the archive.

    Raises:
        ArchiveError: the directory is damaged.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        if size < HEADER_SIZE:
            raise ArchiveError(f"archive: {size} bytes are too few for a header")
        magic, version, count = HEADER.unpack(read(0, HEADER.size))
        if magic != MAGIC:
            raise ArchiveError(f"archive: its magic is {magic!r}, not {MAGIC!r}")
        if version != VERSION:
            raise ArchiveError(f"archive: version {version}, this kernel reads {VERSION}")
        if count > MAX_ENTRIES or HEADER_SIZE + count * ENTRY_SIZE > size:
            raise ArchiveError(f"archive: {count} entries do not fit into {size} bytes")
        directory = read(HEADER_SIZE, count * ENTRY_SIZE)
        self.entries: dict[str, Entry] = {}
        for start in range(0, len(directory), ENTRY_SIZE):
            entry = parse_entry(directory[start:start + ENTRY.size], size)
            if entry.name in self.entries:
                raise ArchiveError(f"archive: two entries are named {entry.name!r}")
            self.entries[entry.name] = entry

    @classmethod
    def from_bytes(cls, data: bytes) -> Archive:
        """An archive held in bytes. Raises: ArchiveError."""
        return cls(lambda offset, length: data[offset:offset + length], len(data))

    def read(self, name: str) -> bytes:
        """The bytes of an entry, checked. Raises: ArchiveError."""
        entry = self.entries.get(name)
        if entry is None:
            raise ArchiveError(f"archive: there is no {name!r}; it has {', '.join(self.entries) or 'nothing'}")
        data = self._read(entry.offset, entry.size)
        if hashlib.sha256(data).digest()[:len(entry.hash)] != entry.hash:
            raise ArchiveError(f"archive: {name!r} is damaged: its hash does not match")
        return data


def parse_entry(raw: bytes, archive_size: int) -> Entry:
    """One directory entry, checked against the size of the archive. Raises: ArchiveError."""
    number, kind, padded, offset, size, digest = ENTRY.unpack(raw)
    name = padded.split(b"\0", 1)[0].decode("utf-8", "replace")
    if not name or not name.isprintable():
        raise ArchiveError(f"archive: entry {number} has no readable name")
    if kind not in EntryType.__members__.values():
        raise ArchiveError(f"archive: {name!r} has the unknown type {kind}")
    if offset < HEADER_SIZE or offset + size > archive_size:
        raise ArchiveError(f"archive: {name!r} reaches beyond the archive's {archive_size} bytes")
    return Entry(number, EntryType(kind), name, offset, size, digest)
