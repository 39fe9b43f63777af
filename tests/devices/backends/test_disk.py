"""Disks: files with locks, bytes in memory, and private writes over either."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from devices.backends.disk import BLOCK, SECTOR, Access, DiskError, FileDisk, MemoryDisk, Overlay


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(random.Random(1).randbytes(3 * BLOCK + SECTOR))
    return path


def test_writes_reach_the_file(file: Path) -> None:
    disk, before = FileDisk(file, Access.THROUGH), file.read_bytes()
    stamp = disk.stamp()
    os.utime(file, ns=(0, 0))
    assert disk.read(SECTOR, 2 * SECTOR) == before[SECTOR:3 * SECTOR] and disk.size == len(before)
    disk.write(BLOCK, b"x" * SECTOR)
    disk.flush()
    assert file.read_bytes() == before[:BLOCK] + b"x" * SECTOR + before[BLOCK + SECTOR:] and disk.stamp() != stamp
    disk.close()
    disk.close()
    with pytest.raises(DiskError, match="it is closed"):
        disk.read(0, SECTOR)


def test_a_file_that_is_written_has_one_user(file: Path) -> None:
    writer = FileDisk(file, Access.THROUGH)
    for access in Access:
        with pytest.raises(DiskError, match=r"disk .*disk: another machine uses it$"):
            FileDisk(file, access)
    writer.close()
    readers = [FileDisk(file, Access.READ_ONLY), FileDisk(file, Access.PRIVATE)]
    with pytest.raises(DiskError, match="another machine uses it"):
        FileDisk(file, Access.THROUGH)
    with pytest.raises(DiskError, match="Bad file descriptor"):
        readers[0].write(0, bytes(SECTOR))
    for reader in readers:
        reader.flush()
        reader.close()


@pytest.mark.parametrize("size", [0, 1, SECTOR + 1])
def test_no_whole_number_of_sectors(size: int, file: Path) -> None:
    file.write_bytes(bytes(size))
    for make in (lambda: FileDisk(file, Access.READ_ONLY), lambda: MemoryDisk(bytes(size))):
        with pytest.raises(DiskError, match=f"{size} bytes are no whole number of sectors"):
            make()


def test_what_cannot_be_opened_or_is_gone_is_one_line(file: Path, tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DiskError, match=f"^disk {path}: {reason}"):
            FileDisk(path, Access.THROUGH)
    disk = FileDisk(file, Access.READ_ONLY)
    os.truncate(file, BLOCK)
    with pytest.raises(DiskError, match="has become shorter"):
        disk.read(BLOCK - SECTOR, 2 * SECTOR)
    disk.close()


def test_private_writes_are_over_the_disk_and_not_on_it(file: Path) -> None:
    before = file.read_bytes()
    chance = random.Random(2)
    disk = FileDisk(file, Access.PRIVATE)
    expected, blocks = bytearray(before), dict[int, bytes]()
    overlay = Overlay(disk, blocks)
    for _ in range(200):
        first = chance.randrange(len(before) // SECTOR)
        length = chance.randint(1, len(before) // SECTOR - first) * SECTOR
        if chance.random() < 0.5:
            data = chance.randbytes(length)
            overlay.write(first * SECTOR, data)
            expected[first * SECTOR:first * SECTOR + length] = data
        assert overlay.read(first * SECTOR, length) == expected[first * SECTOR:first * SECTOR + length]
    assert file.read_bytes() == before and set(map(len, blocks.values())) == {BLOCK}
    overlay.flush()
    disk.close()


def test_bytes_as_a_disk() -> None:
    disk = MemoryDisk(b"a" * SECTOR + b"b" * SECTOR)
    assert disk.read(SECTOR, SECTOR) == b"b" * SECTOR and disk.stamp() == str(disk.size)
    disk.flush()
    with pytest.raises(DiskError, match="not written to"):
        disk.write(0, bytes(SECTOR))
