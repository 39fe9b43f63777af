"""Putting a set of tables somewhere: straight into memory, or as files and commands for a firmware to do it.

The commands are those of the `etc/table-loader` file that firmware for QEMU's machines carries out (QEMU, docs/specs and `bios-linker-loader`):
entries of 128 bytes, ALLOCATE, ADD_POINTER, ADD_CHECKSUM.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from machine.acpi.table import Table, checksum

ROOT = "RSDP"
TABLES_FILE, RSDP_FILE, LOADER_FILE = "etc/acpi/tables", "etc/acpi/rsdp", "etc/table-loader"
ALLOCATE, ADD_POINTER, ADD_CHECKSUM = 1, 2, 3
ZONE_HIGH, ZONE_FSEG = 1, 2
ENTRY_SIZE, NAME_SIZE = 128, 56
TABLES_ALIGN, RSDP_ALIGN = 64, 16


@dataclass(frozen=True, slots=True)
class Placed:
    """Finished tables: their bytes for one address, and where the RSDP is."""

    data: bytes
    rsdp: int


def _layout(tables: Iterable[Table]) -> tuple[dict[str, int], int]:
    """Offsets by name, and the length of all."""
    offsets: dict[str, int] = {}
    cursor = 0
    for one in tables:
        cursor = -(-cursor // one.align) * one.align
        offsets[one.name] = cursor
        cursor += len(one.data)
    return offsets, cursor


def place(tables: list[Table], address: int) -> Placed:
    """All tables for `address`, which is aligned to 64 bytes; the RSDP is the first."""
    assert address % TABLES_ALIGN == 0
    ordered = sorted(tables, key=lambda one: one.name != ROOT)
    offsets, length = _layout(ordered)
    data = bytearray(length)
    for one in ordered:
        piece = bytearray(one.data)
        for pointer in one.pointers:
            piece[pointer.offset:pointer.offset + pointer.size] = (address + offsets[pointer.target]).to_bytes(pointer.size, "little")
        for at, covered in one.checksums:
            piece[at] = 0
            piece[at] = checksum(piece[:covered])
        data[offsets[one.name]:offsets[one.name] + len(piece)] = piece
    return Placed(bytes(data), address + offsets[ROOT])


def _file_name(name: str) -> bytes:
    return name.encode().ljust(NAME_SIZE, b"\0")


def _entry(command: int, body: bytes) -> bytes:
    return (struct.pack("<I", command) + body).ljust(ENTRY_SIZE, b"\0")


def loader_files(tables: list[Table]) -> dict[str, bytes]:
    """The three files, by name, from which a firmware installs the tables."""
    root = next(one for one in tables if one.name == ROOT)
    others = [one for one in tables if one.name != ROOT]
    offsets, length = _layout(others)
    data = bytearray(length)
    commands = _entry(ALLOCATE, _file_name(RSDP_FILE) + struct.pack("<IB", RSDP_ALIGN, ZONE_FSEG))
    commands += _entry(ALLOCATE, _file_name(TABLES_FILE) + struct.pack("<IB", TABLES_ALIGN, ZONE_HIGH))
    pointers, sums = b"", b""
    for file, one, base in [(TABLES_FILE, one, offsets[one.name]) for one in others] + [(RSDP_FILE, root, 0)]:
        piece = bytearray(one.data)
        for pointer in one.pointers:                # before the command is carried out, the field holds the offset in the target file
            piece[pointer.offset:pointer.offset + pointer.size] = offsets[pointer.target].to_bytes(pointer.size, "little")
            pointers += _entry(ADD_POINTER, _file_name(file) + _file_name(TABLES_FILE) + struct.pack("<IB", base + pointer.offset, pointer.size))
        for at, covered in one.checksums:
            sums += _entry(ADD_CHECKSUM, _file_name(file) + struct.pack("<III", base + at, base, covered))
        if file == TABLES_FILE:
            data[base:base + len(piece)] = piece
        else:
            root_data = bytes(piece)
    return {TABLES_FILE: bytes(data), RSDP_FILE: root_data, LOADER_FILE: commands + pointers + sums}
