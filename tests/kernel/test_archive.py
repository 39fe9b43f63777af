from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.archive import Archive, EntryType
from kernel.errors import ArchiveError
from tests.kernel.fake import PROGRAM, folk_pack, program_archive

FIRST = 64                              # the first directory entry


def damaged(change: Callable[[bytearray], None]) -> bytes:
    data = bytearray(program_archive())
    change(data)
    return bytes(data)


def test_entries_are_read_and_checked() -> None:
    archive = Archive.from_bytes(program_archive())
    assert list(archive.entries) == ["pulse", "spinner", "notes"]
    assert archive.read("pulse") == PROGRAM
    assert archive.read("notes") == b"text"
    assert archive.entries["notes"].type is EntryType.DATA


def test_empty_archive() -> None:
    archive = Archive.from_bytes(folk_pack({}))
    assert archive.entries == {}
    with pytest.raises(ArchiveError, match="there is no 'pulse'; it has nothing"):
        archive.read("pulse")


@pytest.mark.parametrize(("change", "message"), [
    (lambda data: data.__setitem__(0, 0), "its magic is"),
    (lambda data: struct.pack_into("<I", data, 4, 2), "version 2"),
    (lambda data: struct.pack_into("<I", data, 8, 5000), "5000 entries do not fit"),
    (lambda data: struct.pack_into("<I", data, 8, 400), "400 entries do not fit"),
    (lambda data: data.__setitem__(slice(FIRST + 4, FIRST + 36), bytes(32)), "no readable name"),
    (lambda data: data.__setitem__(slice(FIRST + 4, FIRST + 8), b"a\x1b[m"), "no readable name"),
    (lambda data: data.__setitem__(slice(FIRST + 4, FIRST + 12), b"spinner\0"), "two entries are named 'spinner'"),
    (lambda data: struct.pack_into("<H", data, FIRST + 2, 7), "unknown type 7"),
    (lambda data: struct.pack_into("<Q", data, FIRST + 36, 8), "reaches beyond"),
    (lambda data: struct.pack_into("<Q", data, FIRST + 36, 1 << 63), "reaches beyond"),
    (lambda data: struct.pack_into("<Q", data, FIRST + 44, 1 << 40), "reaches beyond"),
])
def test_damage_to_the_directory_is_named(change: Callable[[bytearray], None], message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        Archive.from_bytes(damaged(change))


@pytest.mark.parametrize("size", [0, 1, 11, 63, 64, 100, 255])
def test_cut_off(size: int) -> None:
    with pytest.raises(ArchiveError):
        Archive.from_bytes(program_archive()[:size])


def test_one_damaged_file_does_not_hide_the_others() -> None:
    data = damaged(lambda data: data.__setitem__(4096 + 70, 0x90))
    archive = Archive.from_bytes(data)
    with pytest.raises(ArchiveError, match="'pulse' is damaged"):
        archive.read("pulse")
    assert archive.read("spinner") == PROGRAM


@given(st.integers(0, 64 + 3 * 64 - 1), st.integers(1, 255))
def test_a_flipped_byte_is_noticed_or_harmless(at: int, flip: int) -> None:
    data = bytearray(program_archive())
    data[at] ^= flip
    try:
        archive = Archive.from_bytes(bytes(data))
        contents = {name: archive.read(name) for name in archive.entries}
    except ArchiveError:
        return
    assert sorted(contents.values()) == sorted([PROGRAM, PROGRAM, b"text"])     # a name, an id or padding


@given(st.binary(max_size=400))
def test_noise_is_no_archive(noise: bytes) -> None:
    try:
        Archive.from_bytes(noise)
    except ArchiveError:
        return
    assert noise.startswith(b"FOLK")
