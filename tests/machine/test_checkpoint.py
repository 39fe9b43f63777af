"""Checkpoints, forks and snapshots: everything goes on as if nothing had happened."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import resource
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices.core.reset import ResetKind
from machine import Configuration, ExitReason, Firmware, Linux, Machine, MachineError, Multiboot
from machine.checkpoint import CheckpointError
from machine.memory import MIB, GuestMemory
from machine.snapshot import HEAD, PIECE, VERSION, SnapshotError, _decode, _encode, read, write
from tests.machine.rom import EIGHT_BITS, rom

Build = Callable[..., Machine]
PATIENCE = 5.0
# Counts in memory, in a register, by PIT interrupts and on COM1, so that a lost bit of any of them changes what is printed.
BUSY = (EIGHT_BITS + "xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov word ptr [0x80], 0x7c00; mov word ptr [0x82], 0; mov dword ptr [0x600], 0;"
        "mov al, 0x11; out 0x20, al; mov al, 0x20; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al; mov al, 0xfe; out 0x21, al;"
        "mov al, 0x34; out 0x43, al; mov al, 0; out 0x40, al; mov al, 2; out 0x40, al; sti; xor ebx, ebx;"
        "again: inc ebx; inc dword ptr [0x600]; imul eax, ebx, 0x343fd; xor eax, dword ptr [0x600]; add al, byte ptr [0x604]; mov dx, 0x3f8; out dx, al;"
        "mov cx, 300; wait: loop wait; cmp ebx, 3000; jb again; mov al, 0; out 0xf4, al; hlt")
HANDLER = bytes.fromhex("50" "fe060406" "b020" "e620" "58" "cf")     # at 0x7C00: push ax; inc byte [0x604]; mov al, 0x20; out 0x20, al; pop ax; iret


@pytest.fixture
def build() -> Iterator[Build]:
    machines: list[Machine] = []

    def make(**options: object) -> Machine:
        configuration = Configuration(**{"memory": 4 * MIB, "clock": "instructions", **options})  # type: ignore[arg-type]
        machine = Machine(Firmware(rom(BUSY)), configuration)
        machine.board.as_firmware_leaves_it()
        machine.memory.write(0x7C00, HANDLER)
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.close()


def listen(machine: Machine) -> bytearray:
    output = bytearray()
    machine.board.serial_out = output.extend
    return output


def finish(machine: Machine) -> bytes:
    """The rest of the output, and that the end is the guest's own."""
    output = listen(machine)
    assert machine.run(timeout=PATIENCE).reason is ExitReason.DEBUG_EXIT
    return bytes(output)


def half_way(machine: Machine) -> bytes:
    output = listen(machine)
    assert machine.run(until=lambda: len(output) > 1000, timeout=PATIENCE).reason is ExitReason.CONDITION
    return bytes(output)


def test_the_guest_of_these_tests_takes_interrupts(build: Build) -> None:
    machine = build()
    assert len(finish(machine)) == 3000
    assert machine.engine.vcpus[0].delivered > 10


def test_going_back_gives_the_same_future_each_time(build: Build) -> None:
    machine = build()
    before = half_way(machine)
    checkpoint = machine.checkpoint()
    futures = [finish(machine)]
    for _ in range(3):
        machine.restore(checkpoint)
        futures.append(finish(machine))
    assert set(futures) == {futures[0]} and len(before) + len(futures[0]) == 3000
    undisturbed = finish(build())
    assert before + futures[0] == undisturbed, "and it is the future that there would have been without"


@pytest.mark.parametrize("seed", [None, 7])
def test_a_fork_goes_on_by_itself(build: Build, seed: int | None) -> None:
    machine = build(schedule_seed=seed)
    half_way(machine)
    fork = machine.fork()
    fork.memory.write(0x600, b"\xff\xff\xff\x7f")
    changed = finish(fork)
    fork.close()
    other = machine.fork()
    ours = finish(machine)
    assert finish(other) == ours != changed
    other.close()


def test_a_checkpoint_can_be_taken_of_a_checkpoint(build: Build) -> None:
    machine = build()
    half_way(machine)
    first = machine.checkpoint()
    machine.memory.write(0x100000, b"later")
    second = machine.checkpoint()
    machine.restore(first)
    assert machine.memory.read(0x100000, 5) == bytes(5)
    machine.restore(second)
    assert machine.memory.read(0x100000, 5) == b"later"


def test_ram_is_mapped_not_copied(build: Build) -> None:
    """Constant time: what a restore does to RAM is one mapping, so writes behind its back to the image show up where the guest has not written."""
    machine = build(memory=64 * MIB)
    checkpoint = machine.checkpoint()
    machine.restore(checkpoint)
    checkpoint.ram.write(48 * MIB, b"shared")
    assert machine.memory.read(48 * MIB, 6) == b"shared"


def test_all_of_ram_is_kept_above_4_gib_too() -> None:
    memory = GuestMemory(3 * 1024 * MIB)
    places = (0x500, 0xC0000, 2 * 1024 * MIB, 0x1_0000_0000 + 5 * MIB)
    for place in places:
        memory.write(place, place.to_bytes(8, "little"))
    image = memory.freeze()
    for place in places:
        memory.write(place, bytes(8))
    memory.adopt(image)
    assert [int.from_bytes(memory.read(place, 8), "little") for place in places] == list(places)
    assert {offset for offset, _ in image.pieces(4096)} == {0, 0xC0000, 2 * 1024 * MIB, 0xB0000000 + 5 * MIB}


def test_the_host_clock_and_the_time_stamp_counter_go_on(build: Build) -> None:
    machine = build(clock="host")
    half_way(machine)
    checkpoint = machine.checkpoint()
    counter, now = checkpoint.tsc, checkpoint.time
    machine.restore(checkpoint)
    again = machine.checkpoint()
    assert 0 <= again.tsc - counter < 3_000_000_000 and 0 <= again.time - now < 1_000_000_000
    assert len(finish(machine)) > 1000


def test_a_checkpoint_of_another_machine_is_refused_by_name(build: Build) -> None:
    checkpoint = build().checkpoint()
    for other in (build(cpus=2), build(memory=8 * MIB), build(clock="host")):
        with pytest.raises(CheckpointError, match="a checkpoint of folkering-q35 2 with 1 CPUs, 4 MiB and the instructions clock does not fit"):
            other.restore(checkpoint)


# --- files -----------------------------------------------------------------------------------------------------------------------------
def test_a_snapshot_goes_on_in_another_process(build: Build, tmp_path: Path) -> None:
    machine = build(cpus=2)
    half_way(machine)
    machine.save(tmp_path / "saved")
    program = ("import sys; from machine import Machine; machine = Machine.load(sys.argv[1]); output = bytearray(); machine.board.serial_out = output.extend;"
               "print(machine.run(timeout=5.0).reason.value); print(output.hex())")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "saved")], capture_output=True, text=True, timeout=60, check=True,
                          cwd=Path(__file__).resolve().parents[2])
    reason, output = done.stdout.split("\n")[:2]
    assert reason == "debug exit" and bytes.fromhex(output) == finish(machine)
    assert list(tmp_path.iterdir()) == [tmp_path / "saved"], "nothing else is left behind"


def test_a_loaded_machine_can_start_over(build: Build, tmp_path: Path) -> None:
    machine = build()
    half_way(machine)
    machine.save(tmp_path / "saved")
    loaded = Machine.load(tmp_path / "saved")
    loaded.board.on_reset(ResetKind.HARD)
    output = listen(loaded)
    loaded.run(until=lambda: len(output) > 10, timeout=PATIENCE)
    assert loaded.stats.resets == 1 and len(output) > 10
    loaded.close()


def test_every_damaged_snapshot_is_refused_with_one_line(build: Build, tmp_path: Path) -> None:
    machine = build()
    path = tmp_path / "saved"
    machine.save(path)
    good = path.read_bytes()
    bad = {"empty": b"", "foreign": b"\x7fELF" + good[4:], "short": good[:-1], "half": good[:len(good) // 2], "head": good[:HEAD.size],
           "more": good + b"\0", **{f"{tenth}0 %": good[:len(good) * tenth // 10] for tenth in range(1, 10)},
           "version": good[:8] + b"\x63" + good[9:], "huge": good[:12] + b"\xff" * 8 + good[20:]}
    step = max(1, len(good) // 200)
    bad |= {f"bit {at}": good[:at] + bytes((good[at] ^ 0x10,)) + good[at + 1:] for at in range(0, len(good), step)}
    for name, data in bad.items():
        path.write_bytes(data)
        with pytest.raises(SnapshotError) as caught:
            Machine.load(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value), name


def test_a_snapshot_that_claims_the_impossible_is_refused_although_its_digest_is_right(build: Build, tmp_path: Path) -> None:
    machine = build()
    machine.save(tmp_path / "saved")
    good = (tmp_path / "saved").read_bytes()
    _, _, length = HEAD.unpack_from(good)
    header = json.loads(zlib.decompress(good[HEAD.size:HEAD.size + length]))
    rest = good[HEAD.size + length:-32]

    def forged(change: Callable[[dict[str, Any]], object] = lambda header: None, rest: bytes = rest) -> None:
        altered = _decode(copy.deepcopy(header))
        change(altered)
        packed = zlib.compress(json.dumps(_encode(altered)).encode())
        data = HEAD.pack(good[:8], VERSION, len(packed)) + packed + rest
        (tmp_path / "forged").write_bytes(data + hashlib.sha256(data).digest())

    def piece(offset: int, length: int, data: bytes) -> bytes:
        squeezed = zlib.compress(data)
        return PIECE.pack(offset, length, len(squeezed)) + squeezed + PIECE.pack(0, 0, 0)

    forged()
    Machine.load(tmp_path / "forged").close()
    cases: list[Callable[[], None]] = [
        lambda: forged(lambda h: h["checkpoint"]["board"].__setitem__(0, "another-board")),
        lambda: forged(lambda h: h["checkpoint"]["board"].__setitem__(1, 99)),
        lambda: forged(lambda h: h["checkpoint"]["board"].__setitem__(2, 2)),
        lambda: forged(lambda h: h["checkpoint"]["board"].__setitem__(3, 1 << 62)),
        lambda: forged(lambda h: h["checkpoint"]["board"].__setitem__(3, 8 * MIB)),
        lambda: forged(lambda h: h["configuration"].__setitem__("cpus", 7)),
        lambda: forged(lambda h: h["configuration"].__setitem__("cpus", "one")),
        lambda: forged(lambda h: h["configuration"].__setitem__("schedule_seed", "blue")),
        lambda: forged(lambda h: h["boot"].__setitem__("kind", "tape")),
        lambda: forged(lambda h: h["boot"]["values"].__setitem__("image", 5)),
        lambda: forged(lambda h: h["checkpoint"]["vcpus"][0].__setitem__("context", b"short")),
        lambda: forged(lambda h: h["checkpoint"]["vcpus"][0].__setitem__("activity", "asleep")),
        lambda: forged(lambda h: h["checkpoint"]["vcpus"].append(h["checkpoint"]["vcpus"][0])),
        lambda: forged(lambda h: h["checkpoint"]["chips"].pop("com1")),
        lambda: forged(lambda h: h["checkpoint"]["chips"]["com1"].pop("lcr")),
        lambda: forged(lambda h: h["checkpoint"]["chips"]["com1"].__setitem__("lcr", "x")),
        lambda: forged(lambda h: h["checkpoint"].__setitem__("turns", [0, [0]])),
        lambda: forged(lambda h: h["checkpoint"].__setitem__("time", None)),
        lambda: forged(lambda h: h["checkpoint"]["turns"].__setitem__(2, [])),
        lambda: forged(lambda h: (h["checkpoint"]["board"].__setitem__(2, 10**9), h["configuration"].__setitem__("cpus", 10**9))),
        lambda: forged(rest=PIECE.pack(0, 1 << 16, 0xFFFFFFFF) + b"xx" + PIECE.pack(0, 0, 0)),
        lambda: forged(rest=piece(1 << 63, 4, b"here")), lambda: forged(rest=piece(4 * MIB - 2, 4, b"here")),
        lambda: forged(rest=piece(0, 1 << 16, bytes(1 << 24))), lambda: forged(rest=piece(0, 9, b"here")),
    ]
    for number, case in enumerate(cases):
        case()
        with pytest.raises(MachineError) as caught:
            Machine.load(tmp_path / "forged").close()
        assert "\n" not in str(caught.value), number


@pytest.mark.parametrize("boot", [Linux(b"kernel", b"initrd", "append"), Multiboot(b"kernel", ((b"one", "text"), (b"two", "")), "append"),
                                  Firmware(b"image", {"opt/file": b"bytes"})])
def test_what_is_booted_comes_back_from_a_file(build: Build, tmp_path: Path, boot: Linux | Multiboot | Firmware) -> None:
    configuration = {"memory": 4 * MIB, "cpus": 1, "clock": "instructions", "cards": (), "schedule_seed": 5}
    write(tmp_path / "saved", build().checkpoint(), boot, configuration)
    assert read(tmp_path / "saved")[1:] == (boot, configuration)


def test_a_snapshot_that_cannot_be_written_is_one_line(build: Build, tmp_path: Path) -> None:
    machine = build()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for place, message in ((tmp_path / "nowhere" / "saved", "No such file or directory"), (tmp_path / "folder", "it is a folder"),
                           (tmp_path / "pipe", "it is no file that could be replaced"), ("/dev/full", "it is no file that could be replaced")):
        with pytest.raises(SnapshotError, match=message) as caught:
            machine.save(place)
        assert str(place) in str(caught.value) and "\n" not in str(caught.value)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    with pytest.raises(MachineError, match="No such file"):
        Machine.load(tmp_path / "none")
    with pytest.raises(MachineError, match="Is a directory"):
        Machine.load(tmp_path / "folder")


def test_a_snapshot_for_which_there_is_no_room_leaves_the_old_one(build: Build, tmp_path: Path) -> None:
    """Stands for a full disk: no file of this process may be larger than it was."""
    machine = build()
    path = tmp_path / "saved"
    machine.save(path)
    old = path.read_bytes()
    machine.memory.write(0x200000, random.Random(1).randbytes(100_000))
    checkpoint, configuration = machine.checkpoint(), {"memory": 4 * MIB, "cpus": 1, "clock": "instructions", "cards": (), "schedule_seed": None}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old), limits[1]))
    try:
        with pytest.raises(SnapshotError, match="File too large"):
            write(path, checkpoint, Firmware(rom(BUSY)), configuration)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_snapshot_stays_one_and_others_may_read_it(build: Build, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "saved")
    build().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "saved").is_file()
    mask = os.umask(0o022)
    os.umask(mask)
    assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_checkpoint_of_another_firmware_is_refused(build: Build) -> None:
    machine = build()
    checkpoint = machine.checkpoint()
    other = Machine(Firmware(rom("again: jmp again")), machine.configuration)
    with pytest.raises(CheckpointError, match="another firmware"):
        other.restore(checkpoint)
    other.close()
