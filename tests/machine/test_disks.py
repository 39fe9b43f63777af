"""`--disk`, and what disks mean for copies of a machine; a disk is driven through configuration space and base addresses as a guest does."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from devices.backends.disk import Access, FileDisk, MemoryDisk
from devices.pci.config_space import COMMAND, MASTER, MEMORY
from machine import Configuration, Firmware, Machine, MachineError
from machine.cards import CARDS, disk_card
from machine.checkpoint import CheckpointError
from machine.run_command import RunOptions, disks_of, machine_of, run
from tests.machine.rom import rom

HALT = rom("cli; hlt")
SECTOR = 512
TABLE, AVAILABLE, USED, HEADER, STATUS, DATA = 0x1000, 0x2000, 0x3000, 0x4000, 0x4100, 0x5000
CONTENT = bytes(range(256)) * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "disk").write_bytes(CONTENT)
    return tmp_path / "disk"


class Guest:
    """One driver of the first disk of a machine, by its base address as `as_firmware_leaves_it` gives it."""

    def __init__(self, machine: Machine, name: str = "virtio-blk") -> None:
        self.machine, self.memory = machine, machine.memory
        function = machine.board.cards[name]
        function.config.write(COMMAND, 2, MEMORY | MASTER)
        self.base, self.mmio = function.config.read(0x10, 4), machine.mmio
        self.added = 0

    def start(self) -> None:
        for offset, size, value in ((0x14, 1, 0), (0x14, 1, 3), (0x08, 4, 1), (0x0C, 4, 1), (0x08, 4, 0), (0x0C, 4, 1 << 9), (0x14, 1, 11), (0x16, 2, 0),
                                    (0x18, 2, 8), (0x20, 8, TABLE), (0x28, 8, AVAILABLE), (0x30, 8, USED), (0x1C, 2, 1), (0x14, 1, 15)):
            self.mmio.write(self.base + offset, size, value)

    def request(self, kind: int, sector: int, data: bytes = b"") -> bytes:
        """Read or write one sector. Raises nothing: the status has to be OK."""
        self.memory.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
        self.memory.write(DATA, data)
        for index, (address, length, flags) in enumerate(((HEADER, 16, 1), (DATA, SECTOR, 1 | 2 * (kind == 0)), (STATUS, 1, 2))):
            self.memory.write(TABLE + 16 * index, struct.pack("<QIHH", address, length, flags, index + 1))
        self.added += 1
        self.memory.write(AVAILABLE + 4 + 2 * (self.added - 1), struct.pack("<H", 0))
        self.memory.write(AVAILABLE + 2, struct.pack("<H", self.added))
        self.memory.write(STATUS, b"\xff")
        self.mmio.write(self.base + 0x3000, 2, 0)
        assert self.memory.read(STATUS, 1) == b"\0", self.machine.log.lines
        return self.memory.read(DATA, SECTOR)


def booted(*cards: Any, **options: Any) -> Machine:
    machine = Machine(Firmware(HALT), Configuration(**{"memory": 4 << 20, "clock": "instructions", **options}, cards=cards))
    machine.board.as_firmware_leaves_it()
    return machine


def options(tmp_path: Path, **more: Any) -> RunOptions:
    (tmp_path / "rom").write_bytes(HALT)
    return RunOptions(**{"firmware": str(tmp_path / "rom"), "memory": 4, "clock": "instructions", "serial": "none", "timeout": 0.05, **more})


def test_a_guest_reads_and_writes_the_file(file: Path) -> None:
    disk = FileDisk(file, Access.THROUGH)
    machine = booted(CARDS["virtio-rng"], disk_card(disk))
    guest = Guest(machine)
    guest.start()
    assert guest.request(0, 1) == CONTENT[SECTOR:2 * SECTOR]
    guest.request(1, 2, b"w" * SECTOR)
    assert file.read_bytes()[2 * SECTOR:3 * SECTOR] == b"w" * SECTOR
    machine.close()
    disk.close()


def test_private_writes_go_with_checkpoint_fork_and_snapshot(tmp_path: Path) -> None:
    cards = (disk_card(MemoryDisk(CONTENT, "one")), disk_card(MemoryDisk(CONTENT[::-1], "two")))
    machine = booted(*cards)
    second = Guest(machine, "virtio-blk-2")
    second.start()
    assert second.request(0, 0) == CONTENT[::-1][:SECTOR]
    guest = Guest(machine)
    guest.start()
    guest.request(1, 0, b"a" * SECTOR)
    checkpoint = machine.checkpoint()
    machine.save(tmp_path / "snapshot")
    guest.request(1, 0, b"b" * SECTOR)
    copies = [machine.fork(checkpoint), Machine.load(tmp_path / "snapshot", cards=cards), machine.fork(), machine]
    for copy, content in zip(copies, b"aabb", strict=True):
        reader = Guest(copy)
        reader.added = 1 if content == ord("a") else 2
        assert reader.request(0, 0) == bytes([content]) * SECTOR
    machine.restore(checkpoint)
    guest.added = 1
    assert guest.request(0, 0) == b"a" * SECTOR
    for copy in copies:
        copy.close()
    with pytest.raises(MachineError, match="there is no device 'virtio-blk'.*--disk FILE"):
        Machine.load(tmp_path / "snapshot")


def test_a_disk_whose_file_is_written_has_one_machine_and_no_way_back(file: Path) -> None:
    disk = FileDisk(file, Access.THROUGH)
    machine = booted(disk_card(disk))
    guest = Guest(machine)
    guest.start()
    checkpoint = machine.checkpoint()
    machine.restore(checkpoint)
    with pytest.raises(MachineError, match=r"is written by another machine; for forks, keep writes private: .*disk,snapshot$"):
        machine.fork(checkpoint)
    guest.request(1, 0, bytes(SECTOR))
    with pytest.raises(CheckpointError, match="writes to its file cannot be undone"):
        machine.restore(checkpoint)
    machine.close()
    disk.close()


def test_the_command_line_opens_and_closes_files(tmp_path: Path, file: Path) -> None:
    for access in ("rw", "ro", "snapshot"):
        assert run(options(tmp_path, disk=((str(file), access),))) == 1, "it halts for good"
    FileDisk(file, Access.THROUGH).close()


def test_a_snapshot_wants_the_disks_that_it_had(tmp_path: Path, file: Path) -> None:
    given = ((str(file), "snapshot"),)
    spin = tmp_path / "spin"
    spin.write_bytes(rom("spin: jmp spin"))
    saved = str(tmp_path / "saved")
    assert run(options(tmp_path, firmware=str(spin), disk=given, device=("virtio-rng",), save=saved)) == 124
    assert run(RunOptions(load=saved, serial="none", timeout=0.05, disk=given)) == 124
    for wrong in ((), (*given, *given)):
        with pytest.raises(MachineError, match="--disk"):
            run(RunOptions(load=saved, serial="none", timeout=0.05, disk=wrong))
    other = options(tmp_path, firmware=str(spin), save=saved)
    assert run(other) == 124
    with pytest.raises(MachineError, match="1 given; the snapshot's machine has 0"):
        run(RunOptions(load=saved, serial="none", timeout=0.05, disk=given))


def test_mistakes_with_files_are_one_line(tmp_path: Path, file: Path) -> None:
    with pytest.raises(MachineError, match="^disk .*none: No such file"):
        disks_of(options(tmp_path, disk=((str(tmp_path / "none"), "rw"),)))
    file.write_bytes(b"short")
    with pytest.raises(MachineError, match="5 bytes are no whole number of sectors"):
        run(options(tmp_path, disk=((str(file), "ro"),)))
    file.write_bytes(CONTENT)
    with pytest.raises(MachineError, match="another machine uses it"):
        run(options(tmp_path, disk=((str(file), "rw"), (str(file), "ro"))))


def test_disks_are_behind_the_other_cards(tmp_path: Path, file: Path) -> None:
    given = options(tmp_path, device=("edu", "virtio-rng"), disk=((str(file), "ro"), (str(file), "snapshot")))
    disks = disks_of(given)
    machine = machine_of(given, disks)
    assert list(machine.board.cards) == ["edu", "virtio-rng", "virtio-blk", "virtio-blk-2"]
    machine.close()
    for disk in disks:
        disk.close()
