"""Packs a Folk-Pack archive (docs/contracts.md section 4): header, directory, page-aligned contents."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from images.errors import ImageError

MAGIC, VERSION = b"FOLK", 1
HEADER = struct.Struct("<4sII52x")
ENTRY = struct.Struct("<HH32sQQ8s4x")
NAME_SIZE = 32
PAGE = 4096


class EntryType(IntEnum):
    """What an entry holds."""

    ELF = 0
    DATA = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to be packed."""

    name: str
    type: EntryType
    data: bytes


def pack(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries`, in their order. Raises: ImageError for a name that is empty, too long, or there twice."""
    files = list(entries)
    names = [file.name for file in files]
    for name in names:
        if not 0 < len(name.encode()) < NAME_SIZE or names.count(name) > 1:
            raise ImageError(f"archive: {name!r} is no name for an entry: 1 to {NAME_SIZE - 1} bytes, and each name once")
    offset = _round_up(HEADER.size + len(files) * ENTRY.size)
    directory, contents = [], []
    for number, file in enumerate(files):
        digest = hashlib.sha256(file.data).digest()[:8]
        directory.append(ENTRY.pack(number, file.type, file.name.encode(), offset, len(file.data), digest))
        contents.append(file.data + bytes(-len(file.data) % PAGE))
        offset += len(contents[-1])
    head = HEADER.pack(MAGIC, VERSION, len(files)) + b"".join(directory)
    return head + bytes(-len(head) % PAGE) + b"".join(contents)


def _round_up(size: int) -> int:
    return -(-size // PAGE) * PAGE
