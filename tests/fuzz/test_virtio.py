"""Drivers that make no sense: any rings, any descriptors, any order of registers. The device says so, writes nothing it was not given, and never raises."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.backends.disk import SECTOR, MemoryDisk, Overlay
from devices.backends.entropy import SeededEntropy
from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.virtio.blk import S_IOERR, S_OK, Kind, VirtioBlk
from devices.virtio.device import COMMON_FEATURES, F_VERSION_1, NEEDS_RESET
from devices.virtio.pci_registers import COMMON_CFG, ISR_CFG, NOTIFY_CFG
from devices.virtio.queue import DESC_INDIRECT, DESC_NEXT, DESC_WRITE
from devices.virtio.rng import VirtioRng
from devices.virtio.transport_pci import plug_in
from tests.devices.virtio.driver import AVAILABLE, BUFFERS, INDIRECT, MESSAGES, RAM, TABLE, USED, Buffer, Driver

SIZE, INDIRECT_ENTRIES = 8, 8
QUICK = settings(max_examples=150, deadline=None, derandomize=True, database=None)


class Descriptor(NamedTuple):
    """As 2.7.5 has it."""

    address: int
    length: int
    flags: int
    following: int


WILD = st.sampled_from((0, RAM - 8, RAM, 1 << 32, (1 << 64) - 1)) | st.integers(RAM, (1 << 64) - 1)
LENGTHS = st.integers(0, 64) | st.sampled_from((0xFFFF, 0x10000, 0x40000, 0xFFFFFFFF))
INDICES = st.integers(0, SIZE - 1) | st.integers(0, 0xFFFF)
BUFFER = st.builds(Descriptor, st.integers(BUFFERS, BUFFERS + 0x1000) | WILD, LENGTHS, st.sampled_from((0, DESC_NEXT, DESC_WRITE, DESC_WRITE | DESC_NEXT)),
                   INDICES)
FILLED = st.builds(Descriptor, st.integers(BUFFERS, BUFFERS + 0x1000), st.integers(1, 64), st.sampled_from((DESC_WRITE, DESC_WRITE | DESC_NEXT)),
                   st.integers(0, SIZE - 1))
TABLE_OF = st.builds(Descriptor, st.just(INDIRECT) | WILD, st.sampled_from((16, 32, 16 * INDIRECT_ENTRIES)) | LENGTHS,
                     st.sampled_from((DESC_INDIRECT, DESC_INDIRECT | DESC_WRITE, DESC_INDIRECT | DESC_NEXT)), INDICES)
DESCRIPTORS = st.one_of(FILLED, FILLED, BUFFER, TABLE_OF)


def fixture() -> tuple[AccessLog, RamPort, Driver]:
    log, ram = AccessLog(), RamPort(bytearray(RAM))
    return log, ram, Driver(plug_in(log, VirtioRng(log, SeededEntropy(b"fuzz")), ram), ram)


@given(st.lists(DESCRIPTORS, min_size=SIZE, max_size=SIZE), st.lists(DESCRIPTORS, min_size=INDIRECT_ENTRIES, max_size=INDIRECT_ENTRIES),
       st.lists(st.integers(0, SIZE - 1) | INDICES, min_size=1, max_size=SIZE), st.integers(0, 12), st.integers(0, 0xFFFF))
@QUICK
def test_any_descriptors_any_rings(table: list[Descriptor], indirect: list[Descriptor], heads: list[int], ahead: int, used_event: int) -> None:
    log, ram, driver = fixture()
    driver.start(COMMON_FEATURES, SIZE)
    for index, descriptor in enumerate(table):
        driver.describe(index, *descriptor)
    for index, descriptor in enumerate(indirect):
        driver.describe(index, *descriptor, table=INDIRECT)
    for at, head in enumerate(heads):
        ram.write(AVAILABLE + 4 + 2 * at, struct.pack("<H", head))
    ram.write(AVAILABLE + 2, struct.pack("<H", ahead))
    driver.set_used_event(used_event)
    before = bytes(ram.ram)
    driver.kick()
    broken = driver.status & NEEDS_RESET != 0
    used = driver.used()
    assert broken == (log.total() > 0) and len(used) <= ahead and (broken or len(used) == ahead <= SIZE)
    ring = [*heads, *[0] * SIZE][:SIZE]
    assert [head for head, _ in used] == ring[:len(used)]
    given_away = [(USED, 6 + 8 * SIZE)] + [(one.address, one.length) for one in (*table, *indirect) if one.flags & DESC_WRITE]
    after = bytearray(ram.ram)
    for address, length in given_away:
        if address < RAM:
            end = min(address + length, RAM)
            after[address:end] = before[address:end]
    assert after == before, "memory that the device was not given to write"


@given(st.lists(st.tuples(st.sampled_from((COMMON_CFG, NOTIFY_CFG, ISR_CFG)), st.integers(0, 0x40), st.sampled_from((1, 2, 4, 8)),
                          st.sampled_from((0, 1, 2, 3, 7, 8, 11, 15, 0x47, 0x80, 0xFFFF, TABLE, AVAILABLE, USED, F_VERSION_1)) | st.integers(0, (1 << 64) - 1)),
                max_size=60))
@QUICK
def test_any_order_of_registers(accesses: list[tuple[int, int, int, int]]) -> None:
    log, ram, driver = fixture()
    ram.write(MESSAGES, bytes(8))
    for kind, offset, size, value in accesses:
        driver.write(kind, offset, size, value & (1 << 8 * size) - 1)
        assert 0 <= driver.read(kind, offset, size) < 1 << 8 * size
    driver.start()
    driver.describe(0, BUFFERS, 4, DESC_WRITE)
    driver.offer(0)
    driver.kick()
    assert driver.used() == [(0, 4)], "a reset makes up for everything"
    assert len(log.lines) <= 2048


DISK = bytes(range(256)) * 64
REQUEST = st.tuples(st.sampled_from((*Kind, 2, 99)), st.integers(0, 34) | st.sampled_from((1 << 32, (1 << 64) - 1)),
                    st.sampled_from((0, 16, 512, 1024, 4096, 8192)) | st.integers(0, 0x5000), st.integers(0, 255))


@given(st.lists(REQUEST, max_size=12))
@QUICK
def test_any_requests_to_a_disk(requests: list[tuple[int, int, int, int]]) -> None:
    """Against a byte array: what was written and answered OK is what is read, and all else is as it was."""
    log, ram = AccessLog(), RamPort(bytearray(RAM))
    device = VirtioBlk(log, MemoryDisk(DISK))
    driver = Driver(plug_in(log, device, ram), ram)
    driver.start(COMMON_FEATURES)
    expected = bytearray(DISK)
    for kind, sector, length, fill in requests:
        data = struct.pack("<QII", fill & 31, fill >> 5, 0) if kind == Kind.WRITE_ZEROES and length == 16 else bytes([fill]) * length
        ram.write(BUFFERS, struct.pack("<IIQ", kind, 0, sector))
        ram.write(BUFFERS + 0x1000, data)
        driver.request(Buffer(BUFFERS, 16), Buffer(BUFFERS + 0x1000, length, kind in (Kind.IN, Kind.GET_ID)), Buffer(BUFFERS + 0x100, 1, True))
        ((_, _),) = driver.used()
        status, start = ram.read(BUFFERS + 0x100, 1)[0], sector * SECTOR
        fits = length % SECTOR == 0 and start + length <= len(DISK)
        if kind == Kind.IN:
            assert status == (S_OK if fits else S_IOERR) and (not fits or ram.read(BUFFERS + 0x1000, length) == expected[start:start + length])
        elif kind == Kind.OUT:
            assert status == (S_OK if fits else S_IOERR)
            if fits:
                expected[start:start + length] = data
        elif kind == Kind.WRITE_ZEROES and status == S_OK:
            first, count = (fill & 31) * SECTOR, (fill >> 5) * SECTOR
            expected[first:first + count] = bytes(count)
    assert not driver.status & NEEDS_RESET and Overlay(MemoryDisk(DISK), device.state.written).read(0, len(DISK)) == expected
