"""What all ACPI tables share: the header, the checksum, and pointers to other tables that are filled in once addresses are known.

Source: ACPI 6.5 section 5.2.6 "System Description Table Header".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

OEM_ID = b"FOLKRN"
OEM_TABLE_ID = b"FOLKVPC "
CREATOR_ID = b"FOLK"
HEADER = struct.Struct("<4sIBB6s8sI4sI")
CHECKSUM_AT = 9


@dataclass(frozen=True, slots=True)
class Pointer:
    """A field of a table that holds the address of another: `size` bytes at `offset`."""

    offset: int
    size: int
    target: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose pointers are still 0.

    Attributes:
        name: what others refer to it by.
        data: its bytes.
        pointers: fields to be filled in.
        checksums: (checksum's offset, length from the table's start) pairs.
        align: of its address.
    """

    name: str
    data: bytes
    pointers: tuple[Pointer, ...] = ()
    checksums: tuple[tuple[int, int], ...] = ()
    align: int = 16


def table(signature: str, revision: int, body: bytes, pointers: tuple[Pointer, ...] = ()) -> Table:
    """A table with the common header in front of `body`; pointer offsets count from the table's start."""
    length = HEADER.size + len(body)
    header = HEADER.pack(signature.encode(), length, revision, 0, OEM_ID, OEM_TABLE_ID, 1, CREATOR_ID, 1)
    return Table(signature, header + body, pointers, ((CHECKSUM_AT, length),))


def checksum(data: bytes | bytearray) -> int:
    """The byte that makes the sum of all bytes 0, modulo 256."""
    return -sum(data) & 0xFF
