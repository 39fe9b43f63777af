"""fw_cfg: items by port and by DMA, the file directory, and descriptors that make no sense."""

from __future__ import annotations

import struct

import pytest

from devices.core.dma import RamPort
from devices.core.log import AccessLog
from devices.fw_cfg import ERROR, FILE_DIRECTORY, ID, READ, SELECT, SIGNATURE, SKIP, WRITE, FwCfg

FILES = {"etc/e820": bytes(range(40)), "opt/a": b"hello", "opt/empty": b""}


class Host:
    """The device, as a firmware drives it."""

    def __init__(self) -> None:
        self.ram = bytearray(1 << 20)
        self.log = AccessLog()
        self.chip = FwCfg(self.log, RamPort(self.ram), 256 << 20, 4, FILES)

    def read(self, key: int, length: int) -> bytes:
        self.chip.blocks["selector"].write(0, 2, key)
        return bytes(self.chip.blocks["data"].read(0, 1) for _ in range(length))

    def dma(self, control: int, length: int = 0, target: int = 0, at: int = 0x100) -> int:
        self.ram[at:at + 16] = struct.pack(">IIQ", control, length, target)
        self.start(at)
        return int(struct.unpack_from(">I", self.ram, at)[0])

    def start(self, at: int) -> None:
        block = self.chip.blocks["dma"]
        block.write(0, 4, int.from_bytes(struct.pack(">I", at >> 32), "little"))
        block.write(4, 4, int.from_bytes(struct.pack(">I", at & 0xFFFFFFFF), "little"))

    def directory(self) -> dict[str, tuple[int, int]]:
        count = struct.unpack(">I", self.read(FILE_DIRECTORY, 4))[0]
        raw = bytes(self.chip.blocks["data"].read(0, 1) for _ in range(64 * count))
        return {name.rstrip(b"\0").decode(): (size, key) for size, key, _, name in struct.iter_unpack(">IHH56s", raw)}


@pytest.fixture
def host() -> Host:
    return Host()


def test_signature_and_id(host: Host) -> None:
    assert host.read(SIGNATURE, 4) == b"QEMU"
    assert host.read(ID, 4) == b"\x03\0\0\0"
    assert host.read(0x03, 8) == struct.pack("<Q", 256 << 20)
    assert host.read(0x05, 2) == b"\x04\0"


def test_the_directory_is_big_endian_and_leads_to_the_files(host: Host) -> None:
    directory = host.directory()
    assert {name: size for name, (size, _) in directory.items()} == {name: len(data) for name, data in FILES.items()}
    assert [host.read(key, size) for size, key in directory.values()] == [FILES[name] for name in directory]


def test_behind_the_end_and_at_unknown_keys_zeros_are_read(host: Host) -> None:
    _, key = host.directory()["opt/a"]
    assert host.read(key, 8) == b"hello\0\0\0"
    assert host.read(0x3FFF, 2) == host.read(0x8000, 2) == b"\0\0"
    assert host.read(key | 0x4000, 5) == b"hello", "the legacy write bit selects nothing else"


def test_the_dma_register_reads_its_signature(host: Host) -> None:
    block = host.chip.blocks["dma"]
    assert struct.pack("<II", block.read(0, 4), block.read(4, 4)) == b"QEMU CFG"


def test_dma_selects_reads_and_skips(host: Host) -> None:
    _, key = host.directory()["etc/e820"]
    assert host.dma(SELECT | READ | key << 16, 10, 0x1000) == 0
    assert host.dma(SKIP, 5) == 0
    assert host.dma(READ, 10, 0x1010) == 0
    assert host.ram[0x1000:0x100A] == FILES["etc/e820"][:10]
    assert host.ram[0x1010:0x101A] == FILES["etc/e820"][15:25]


def test_dma_beyond_the_end_fills_with_zeros(host: Host) -> None:
    _, key = host.directory()["opt/a"]
    host.ram[0x2000:0x2010] = b"\xff" * 16
    assert host.dma(SELECT | READ | key << 16, 16, 0x2000) == 0
    assert host.ram[0x2000:0x2010] == b"hello".ljust(16, b"\0")


def test_what_cannot_be_done_gets_the_error_bit(host: Host) -> None:
    assert host.dma(WRITE, 4, 0x1000) == ERROR
    assert host.dma(SELECT | READ, 8, 1 << 40) == ERROR
    assert host.dma(SELECT | READ, 0xFFFFFFFF, 0x1000) == ERROR, "more than there is memory"
    assert host.log.total() == 3


def test_a_read_that_memory_refuses_has_read_all_the_same(host: Host) -> None:
    host.read(SIGNATURE, 0)
    assert host.dma(READ, 2, 1 << 40) == ERROR
    assert host.chip.blocks["data"].read(0, 1) == ord("M")
    assert host.dma(WRITE, 1, 0x1000) == ERROR
    assert host.chip.blocks["data"].read(0, 1) == 0, "so has a write that the item refuses"


def test_a_descriptor_outside_memory_is_noted(host: Host) -> None:
    host.start(1 << 50)
    assert "unreachable" in host.log.lines[0]


def test_the_half_written_address_is_used_once(host: Host) -> None:
    block = host.chip.blocks["dma"]
    block.write(0, 4, 0x01000000)
    block.write(4, 4, 0x00010000)
    host.log.counts.clear()
    assert host.dma(SKIP) == 0 and not host.log.counts


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 55 bytes"):
        FwCfg(AccessLog(), RamPort(bytearray(16)), 0, 1, {"x" * 56: b""})
