"""The block device by VirtIO 1.2, 5.2."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.backends.disk import SECTOR, Access, Disk, DiskError, FileDisk, MemoryDisk
from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.core.registers import StateError
from devices.virtio.blk import F_FLUSH, F_RO, F_WRITE_ZEROES, LARGEST, S_IOERR, S_OK, S_UNSUPP, Kind, VirtioBlk
from devices.virtio.device import COMMON_FEATURES, F_VERSION_1, NEEDS_RESET
from devices.virtio.transport_pci import plug_in
from tests.devices.virtio.driver import BUFFERS, RAM, Buffer, Driver, noted

SECTORS = 32
HEADER_AT, STATUS_AT, DATA_AT = BUFFERS, BUFFERS + 0x100, BUFFERS + 0x1000
CONTENT = random.Random(1).randbytes(SECTORS * SECTOR)


class Bench:
    def __init__(self, disk: Disk, features: int = F_VERSION_1 | F_FLUSH) -> None:
        self.log = AccessLog()
        self.ram = RamPort(bytearray(RAM))
        self.blk = VirtioBlk(self.log, disk)
        self.driver = Driver(plug_in(self.log, self.blk, self.ram), self.ram)
        self.driver.start(features)

    def request(self, kind: int, sector: int, *data: Buffer) -> tuple[int, int]:
        """Status and used length."""
        self.ram.write(HEADER_AT, struct.pack("<IIQ", kind, 0, sector))
        self.ram.write(STATUS_AT, b"\xff")
        self.driver.request(Buffer(HEADER_AT, 16), *data, Buffer(STATUS_AT, 1, True))
        ((_, written),) = self.driver.used()
        return self.ram.read(STATUS_AT, 1)[0], written

    def read(self, sector: int, length: int) -> tuple[int, bytes]:
        status, written = self.request(Kind.IN, sector, Buffer(DATA_AT, length, True))
        assert written == (length + 1 if status == S_OK else 0)
        return status, self.ram.read(DATA_AT, length)

    def write(self, sector: int, data: bytes) -> int:
        self.ram.write(DATA_AT, data)
        status, written = self.request(Kind.OUT, sector, Buffer(DATA_AT, len(data)))
        assert written == 1
        return status


@pytest.fixture
def bench() -> Bench:
    return Bench(MemoryDisk(CONTENT, "/folder/content"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "disk").write_bytes(CONTENT)
    return tmp_path / "disk"


@pytest.fixture
def through(file: Path) -> Iterator[Bench]:
    disk = FileDisk(file, Access.THROUGH)
    yield Bench(disk)
    disk.close()


def test_5_2_4_configuration(bench: Bench) -> None:
    driver = bench.driver
    assert driver.config(0, 4) == SECTORS and driver.config(4, 4) == 0 and driver.config(0x14, 4) == SECTOR
    assert driver.config(0x0C, 4) == 126 and driver.config(0x34, 4) == 1
    assert driver.offered & (F_RO | F_FLUSH | F_WRITE_ZEROES) == F_FLUSH | F_WRITE_ZEROES
    assert driver.offered & COMMON_FEATURES == COMMON_FEATURES
    driver.write(4, 0, 4, 1)
    assert driver.config(0, 4) == SECTORS and bench.log.total() == 1


def test_5_2_6_what_is_written_is_read(bench: Bench) -> None:
    assert bench.read(1, 2 * SECTOR) == (S_OK, CONTENT[SECTOR:3 * SECTOR])
    assert bench.write(SECTORS - 1, b"z" * SECTOR) == S_OK
    assert bench.read(SECTORS - 2, 2 * SECTOR) == (S_OK, CONTENT[-2 * SECTOR:-SECTOR] + b"z" * SECTOR)
    assert bench.request(Kind.FLUSH, 0) == (S_OK, 1)
    assert bench.log.total() == 0


def test_2_7_4_cuts_mean_nothing(bench: Bench) -> None:
    """Header, data and status in one piece each, or in many, or header and status beside data."""
    bench.ram.write(DATA_AT, struct.pack("<IIQ", Kind.IN, 0, 3))
    bench.driver.request(Buffer(DATA_AT, 7), Buffer(DATA_AT + 7, 9), Buffer(DATA_AT + 100, 100, True), Buffer(DATA_AT + 200, SECTOR - 99, True))
    assert bench.driver.used() == [(0, SECTOR + 1)]
    assert bench.ram.read(DATA_AT + 100, SECTOR + 1) == CONTENT[3 * SECTOR:4 * SECTOR] + b"\0"


def test_get_id_is_cut_or_padded(bench: Bench) -> None:
    assert bench.request(Kind.GET_ID, 0, Buffer(DATA_AT, 20, True)) == (S_OK, 21)
    assert bench.ram.read(DATA_AT, 20) == b"content".ljust(20, b"\0")
    assert bench.request(Kind.GET_ID, 0, Buffer(DATA_AT, 3, True)) == (S_OK, 4)
    assert bench.request(Kind.GET_ID, 0, Buffer(DATA_AT, 30, True)) == (S_OK, 20)


def test_write_zeroes(bench: Bench) -> None:
    def zero(sector: int, sectors: int, flags: int = 0, size: int = 16) -> int:
        bench.ram.write(DATA_AT, struct.pack("<QII", sector, sectors, flags).ljust(size, b"\0"))
        return bench.request(Kind.WRITE_ZEROES, 0, Buffer(DATA_AT, size))[0]

    assert zero(2, 3) == zero(10, 1, 1) == S_OK
    expected = bytearray(CONTENT)
    expected[2 * SECTOR:5 * SECTOR] = bytes(3 * SECTOR)
    expected[10 * SECTOR:11 * SECTOR] = bytes(SECTOR)
    assert bench.read(0, SECTORS * SECTOR) == (S_OK, expected)
    assert zero(0, 1, 2) == S_UNSUPP
    assert [zero(SECTORS, 1), zero(0, 0xFFFFFFFF), zero((1 << 64) - 1, 2), zero(0, 1, size=32), zero(0, 1, size=8)] == [S_IOERR] * 5


@pytest.mark.parametrize(("kind", "sector", "length"), [
    (Kind.IN, SECTORS, SECTOR), (Kind.IN, SECTORS - 1, 2 * SECTOR), (Kind.IN, (1 << 64) - 1, SECTOR), (Kind.IN, 0, 100), (Kind.OUT, SECTORS, SECTOR),
    (Kind.OUT, 0, 513), (Kind.IN, 0, LARGEST + SECTOR)])
def test_what_is_not_on_the_disk_is_an_error_of_the_request(kind: Kind, sector: int, length: int, bench: Bench) -> None:
    assert bench.request(kind, sector, Buffer(DATA_AT, length, kind is Kind.IN))[0] == S_IOERR
    assert bench.log.total() == 1 and not bench.driver.status & NEEDS_RESET
    assert bench.read(0, SECTORS * SECTOR) == (S_OK, CONTENT)


@pytest.mark.parametrize("kind", [2, 3, 5, 10, 11, 14, 16, 0x80000000])
def test_other_requests_are_not_supported(kind: int, bench: Bench) -> None:
    assert bench.request(kind, 0) == (S_UNSUPP, 1)


@pytest.mark.parametrize("buffers", [(Buffer(HEADER_AT, 16),), (Buffer(HEADER_AT, 15), Buffer(STATUS_AT, 1, True)), (Buffer(STATUS_AT, 1, True),)])
def test_a_request_without_header_or_status_breaks_the_queue(buffers: tuple[Buffer, ...], bench: Bench) -> None:
    bench.driver.request(*buffers)
    assert bench.driver.status & NEEDS_RESET and len(noted(bench.log)) == 1


def test_5_2_6_2_a_read_only_disk_is_not_written(file: Path) -> None:
    disk = FileDisk(file, Access.READ_ONLY)
    bench = Bench(disk)
    assert bench.driver.offered & F_RO and bench.write(0, bytes(SECTOR)) == S_IOERR
    bench.ram.write(DATA_AT, struct.pack("<QII", 0, 1, 0))
    assert bench.request(Kind.WRITE_ZEROES, 0, Buffer(DATA_AT, 16))[0] == S_IOERR
    assert bench.read(0, SECTOR) == (S_OK, CONTENT[:SECTOR]) and file.read_bytes() == CONTENT
    disk.close()


def test_writes_go_through_to_the_file(through: Bench, file: Path) -> None:
    assert through.write(4, b"w" * SECTOR) == S_OK and through.request(Kind.FLUSH, 0)[0] == S_OK
    assert file.read_bytes() == CONTENT[:4 * SECTOR] + b"w" * SECTOR + CONTENT[5 * SECTOR:]


@pytest.mark.parametrize(("features", "flushes"), [(F_VERSION_1, 1), (F_VERSION_1 | F_FLUSH, 0)])
def test_5_2_6_2_a_driver_that_does_not_flush_has_stable_writes(features: int, flushes: int, file: Path) -> None:
    disk, flushed = FileDisk(file, Access.THROUGH), list[str]()
    disk.flush = lambda: flushed.append("flush")  # type: ignore[method-assign]
    Bench(disk, features).write(0, bytes(SECTOR))
    assert len(flushed) == flushes
    disk.close()


def test_an_error_of_the_hosts_is_one_of_the_request(through: Bench, file: Path) -> None:
    os.truncate(file, SECTOR)
    assert through.read(8, SECTOR)[0] == S_IOERR
    (line,) = through.log.lines
    assert "has become shorter" in line and not through.driver.status & NEEDS_RESET
    assert through.read(0, SECTOR) == (S_OK, CONTENT[:SECTOR])


def test_private_writes_are_in_the_state(bench: Bench) -> None:
    before = bench.blk.save()
    assert bench.write(0, b"p" * SECTOR) == S_OK
    after = bench.blk.save()
    twin = Bench(MemoryDisk(CONTENT))
    twin.blk.restore(after)
    assert twin.read(0, 2 * SECTOR) == (S_OK, b"p" * SECTOR + CONTENT[SECTOR:2 * SECTOR])
    assert twin.write(1, bytes(SECTOR)) == S_OK and bench.read(1, SECTOR) == (S_OK, CONTENT[SECTOR:2 * SECTOR])
    bench.blk.restore(before)
    assert bench.read(0, SECTOR) == (S_OK, CONTENT[:SECTOR])


def test_a_state_of_another_disk_is_refused(bench: Bench, through: Bench, file: Path) -> None:
    with pytest.raises(StateError, match="is not what it was"):
        Bench(MemoryDisk(CONTENT + bytes(SECTOR))).blk.restore(bench.blk.save())
    saved = through.blk.save()
    through.blk.restore(saved)
    os.utime(file, ns=(1, 1))
    with pytest.raises(StateError, match="writes to its file cannot be undone"):
        through.blk.restore(saved)
    for number, block in ((-1, bytes(4096)), (4, bytes(4096)), (0, bytes(100))):
        with pytest.raises(StateError, match=f"block {number} of {len(block)} bytes"):
            bench.blk.restore({"written": {number: block}, "stamp": ""})


def test_disk_errors_have_names() -> None:
    with pytest.raises(DiskError, match="^disk none: 3 bytes"):
        MemoryDisk(b"abc", "none")
