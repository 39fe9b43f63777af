"""Linux boot protocol: what the loader puts where, and every way in which a file can be wrong."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from machine.errors import LoadError
from machine.loaders import bzimage
from machine.memory import MIB, GuestMemory

PAYLOAD = bytes(range(256)) * 64


def image(*, version: int = 0x20F, xloadflags: int = 3, loadflags: int = 1, syssize: int | None = None, init_size: int = MIB, pref: int = 16 * MIB,
          magic: bytes = b"HdrS", payload: bytes = PAYLOAD) -> bytes:
    data = bytearray(5 * 512)
    data[0x1F1] = 4
    struct.pack_into("<I", data, bzimage.SYSSIZE, len(payload) // 16 if syssize is None else syssize)
    struct.pack_into("<H", data, bzimage.BOOT_FLAG, 0xAA55)
    data[bzimage.JUMP_LENGTH] = 0x6A
    data[0x202:0x206] = magic
    struct.pack_into("<H", data, bzimage.VERSION, version)
    data[bzimage.LOADFLAGS] = loadflags
    struct.pack_into("<I", data, bzimage.INITRD_ADDR_MAX, 0x7FFFFFFF)
    struct.pack_into("<H", data, bzimage.XLOADFLAGS, xloadflags)
    struct.pack_into("<I", data, bzimage.CMDLINE_SIZE, 2047)
    struct.pack_into("<Q", data, bzimage.PREF_ADDRESS, pref)
    struct.pack_into("<I", data, bzimage.INIT_SIZE, init_size)
    return bytes(data) + payload


@pytest.fixture
def memory() -> GuestMemory:
    return GuestMemory(32 * MIB)


def test_kernel_initrd_and_command_line_are_where_the_zero_page_says(memory: GuestMemory) -> None:
    entry = bzimage.load(memory, image(), b"\x77" * 5000, "console=ttyS0", 0xF0000, memory.regions())
    page = memory.read(entry.rsi, 4096)
    ramdisk, size = struct.unpack_from("<II", page, bzimage.RAMDISK_IMAGE)
    assert memory.read(16 * MIB, len(PAYLOAD)) == PAYLOAD
    assert (memory.read(ramdisk, size), ramdisk % 4096, ramdisk + size <= 32 * MIB) == (b"\x77" * 5000, 0, True)
    assert memory.read(struct.unpack_from("<I", page, bzimage.CMD_LINE_PTR)[0], 14) == b"console=ttyS0\0"
    assert struct.unpack_from("<Q", page, bzimage.ACPI_RSDP_ADDR)[0] == 0xF0000
    assert page[bzimage.TYPE_OF_LOADER] == 0xFF
    assert page[0x202:0x206] == b"HdrS"
    assert entry.rip == 16 * MIB + 0x200


def test_the_memory_map_is_the_machines(memory: GuestMemory) -> None:
    entry = bzimage.load(memory, image(), b"", "", 0, memory.regions())
    page = memory.read(entry.rsi, 4096)
    entries = [struct.unpack_from("<QQI", page, bzimage.E820_TABLE + 20 * index) for index in range(page[bzimage.E820_ENTRIES])]
    assert entries == [(one.base, one.length, one.kind) for one in memory.regions()]
    assert all(left[0] + left[1] <= right[0] for left, right in pairwise(entries))


def test_the_page_tables_map_the_kernel_to_itself(memory: GuestMemory) -> None:
    entry = bzimage.load(memory, image(), b"", "", 0, memory.regions())
    table = entry.page_tables
    for level in (39, 30, 21):
        index = entry.rip >> level & 511
        value = struct.unpack("<Q", memory.read(table + 8 * index, 8))[0]
        assert value & 3 == 3
        table = value & ~0xFFF
    assert table == entry.rip & ~((1 << 21) - 1)


@pytest.mark.parametrize(("data", "says"), [
    (b"\x7fELF" + bytes(4096), "ELF"), (bytes(4096), "no Linux bzImage"), (b"MZ", "no Linux bzImage"), (image(magic=b"hdrs"), "no Linux bzImage"),
    (image(version=0x20B), "2.11"), (image(xloadflags=0), "64-bit"), (image(loadflags=0), "zImage"), (image()[:-100], "truncated"),
    (image(init_size=20 * MIB), "memory up to 36 MiB"), (image(pref=1 << 40), "needs memory"),
])
def test_a_wrong_kernel_gets_one_line(memory: GuestMemory, data: bytes, says: str) -> None:
    with pytest.raises(LoadError, match=says) as caught:
        bzimage.load(memory, data, b"", "", 0, [])
    assert "\n" not in str(caught.value)


def test_a_too_large_initrd_and_a_too_long_command_line_are_refused(memory: GuestMemory) -> None:
    with pytest.raises(LoadError, match="initrd: its"):
        bzimage.load(memory, image(), bytes(16 * MIB), "", 0, [])
    with pytest.raises(LoadError, match="command line has 2048 bytes"):
        bzimage.load(memory, image(), b"", "x" * 2048, 0, [])
    with pytest.raises(LoadError, match="NUL"):
        bzimage.load(memory, image(), b"", "a\0b", 0, [])
