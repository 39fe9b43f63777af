"""Virtio under drivers nobody here wrote, those of Debian's kernel and of SeaBIOS: MSI-X and the pin, copies made in the middle, QEMU as a peer."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keystone
import pytest

from devices.backends.disk import SECTOR, Access, FileDisk
from devices.backends.entropy import SeededEntropy
from devices.pci.card import Card
from devices.virtio.rng import VirtioRng
from devices.virtio.transport_pci import VirtioPci, plug_in
from machine import Configuration, Firmware, Linux, Machine
from machine.bench import peer
from machine.cards import CARDS, disk_card
from machine.loaders.initrd import build
from machine.configuration import HOST
from machine.scenario.scenario import Scenario
from tests.linux_guest import drivers

pytestmark = pytest.mark.guest

Booter = Callable[..., Scenario]
PATIENCE = 240                          # seconds for what takes three; by the host's clock where machines follow that, and hosts may be busy

BUS = ("virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci")
RNG = (*BUS, "char/hw_random/virtio-rng")
START = """
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
"""
APPEND = "console=ttyS0 quiet cryptomgr.notests"            # which would take six of ten seconds
REPORT = """
echo "rng: $(cat /sys/class/misc/hw_random/rng_available) is $(cat /sys/class/misc/hw_random/rng_current)"
echo "bytes: $(dd if=/dev/hwrng bs=64 count=4 2>/dev/null | busybox od -An -v -tx1 | tr -d ' \\n')"
grep virtio /proc/interrupts
echo done
"""
COPYING = """
echo up
dd if=/dev/hwrng bs=64 count=256 of=/tmp/bytes 2>/dev/null
echo "head: $(head -c 8 /tmp/bytes | busybox od -An -tx1 | tr -d ' ')"
echo "sum: $(sha256sum /tmp/bytes | head -c 64)"
poweroff -f
"""
STREAM = SeededEntropy(b"scenario")
SEEDED = Card("virtio-rng", lambda slot: plug_in(slot.log, VirtioRng(slot.log, STREAM, f"{slot.name} device"), slot.dma, slot.name), "the same bytes each time")


def initrd(kernel: Path, busybox: Path, script: str, modules: tuple[str, ...] = RNG) -> bytes:
    """Modules put in, in order, and then the script."""
    files = drivers(kernel, *modules)
    return build(busybox, START + "".join(f"busybox insmod /{name}\n" for name in files) + script, files)


def interrupts(console: str) -> dict[str, tuple[str, int]]:
    """Lines of /proc/interrupts that name virtio: by handler, controller and count on all processors."""
    found = re.findall(r"^ *\d+: +((?:\d+ +)+)(\S+) +\S+ +(virtio\S+)$", console, re.MULTILINE)
    return {handler: (controller, sum(map(int, counts.split()))) for counts, controller, handler in found}


@pytest.mark.parametrize(("cpus", "append"), [(1, ""), (4, ""), (1, " pci=nomsi")], ids=["1", "4", "nomsi"])
def test_linux_reads_what_the_source_gave(cpus: int, append: str, scenarios: Booter, debian_linux: Path, debian_busybox: Path) -> None:
    boot = Linux(debian_linux.read_bytes(), initrd(debian_linux, debian_busybox, REPORT + "poweroff -f\n"), APPEND + append)
    pc = scenarios(boot, Configuration(cpus=cpus, clock=HOST, cards=(SEEDED,)))
    pc.wait_for("^done$", PATIENCE)
    function = pc.machine.board.cards["virtio-rng"]
    assert isinstance(function, VirtioPci)
    given = STREAM.read(0, function.device.state.position)
    (read,) = re.findall(r"^bytes: ([0-9a-f]{512})$", pc.console, re.MULTILINE)
    assert bytes.fromhex(read) in given, pc.console
    assert "rng: virtio_rng.0 is virtio_rng.0\n" in pc.console.replace(" \n", "\n").replace("0  is", "0 is")
    lines = interrupts(pc.console)
    requests = len(given) // 64
    if append:
        assert lines == {"virtio0": ("IO-APIC", requests)} and not function.msix.enabled
    else:
        assert lines == {"virtio0-config": ("PCI-MSI", 0), "virtio0-input": ("PCI-MSI", requests)} and function.msix.enabled
    assert not [line for line in pc.machine.log.lines if "virtio" in line]
    pc.wait_for_end(PATIENCE)


def test_a_copy_made_while_bytes_flow_reads_the_same(scenarios: Booter, tmp_path: Path, debian_linux: Path, debian_busybox: Path) -> None:
    """The machine, a fork of it and a snapshot loaded again read on from one moment in the middle: 16 KiB, by the digest of all."""
    boot = Linux(debian_linux.read_bytes(), initrd(debian_linux, debian_busybox, COPYING), APPEND)
    pc = scenarios(boot, Configuration(clock="instructions", cards=(SEEDED,)))
    pc.wait_for("^up$", PATIENCE)
    device = pc.machine.board.cards["virtio-rng"].parts[1]
    pc.wait_until(lambda: device.save()["position"] > 4096, "bytes to flow")
    assert device.save()["position"] < 12288
    pc.machine.save(tmp_path / "snapshot")
    copies = [pc, pc.fork(), Scenario(Machine.load(tmp_path / "snapshot", cards=(SEEDED,)), pc.console)]
    try:
        sums = set()
        for copy in copies:
            (head,) = re.findall("[0-9a-f]{16}", copy.wait_for("^head: [0-9a-f]{16}$")[0])
            sums.add((head, copy.wait_for("^sum: ([0-9a-f]{64})$")[1]))
            copy.wait_for_end()
    finally:
        for copy in copies[1:]:
            copy.close()
    ((head, digest),) = sums
    start = STREAM.read(0, 4096).index(bytes.fromhex(head))
    assert digest == hashlib.sha256(STREAM.read(start, 16384)).hexdigest()


def test_qemu_says_the_same(scenarios: Booter, tmp_path: Path, debian_linux: Path, debian_busybox: Path) -> None:
    """The same kernel and initrd on QEMU's own device: the same lines, bytes and numbers of interrupts apart."""
    if peer.found() is None:
        pytest.skip("no qemu-system-x86_64 here")
    data = initrd(debian_linux, debian_busybox, REPORT + "poweroff -f\n")
    (tmp_path / "initrd").write_bytes(data)
    command = peer.qemu("-kernel", str(debian_linux), "-initrd", str(tmp_path / "initrd"), "-append", APPEND,
                        "-device", "virtio-rng-pci,disable-legacy=on")
    theirs = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=peer.PATIENCE).stdout.decode()
    pc = scenarios(Linux(debian_linux.read_bytes(), data, APPEND), Configuration(clock=HOST, cards=(CARDS["virtio-rng"],)))
    pc.wait_for_end(PATIENCE)
    ours, theirs = (_without_numbers(console) for console in (pc.console, theirs))
    assert ours == theirs and len(ours) == 5


# --- disks -------------------------------------------------------------------------------------------------------------------------------------
BLK = (*BUS, "block/virtio_blk")
DISK_SIZE = 8 << 20
FILL = """
echo "disk: $(cat /sys/block/vda/size) sectors, read-only $(cat /sys/block/vda/ro), named $(cat /sys/block/vda/serial)"
busybox mke2fs /dev/vda >/dev/null
mount -t ext4 /dev/vda /tmp
seq 100000 > /tmp/numbers
busybox umount /tmp
echo "whole: $(sha256sum /dev/vda | head -c 64)"
grep virtio /proc/interrupts
poweroff -f
"""
LOOK = """
echo "disk: read-only $(cat /sys/block/vda/ro)"
mount -t ext4 -o ro /dev/vda /tmp
echo "numbers: $(sha256sum /tmp/numbers | head -c 64)"
echo x > /dev/vda || echo "cannot be written"
grep virtio /proc/interrupts
poweroff -f
"""
SHARE = """
mount -t ext4 /dev/vda /tmp
echo before > /tmp/mine
sync
echo up
while read word; do echo $word > /tmp/mine; sync; echo 3 > /proc/sys/vm/drop_caches; echo "it says $(cat /tmp/mine)"; done
"""
NUMBERS = hashlib.sha256(b"".join(b"%d\n" % number for number in range(1, 100001))).hexdigest()


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "folkering.py", "run", "--timeout", str(PATIENCE), *options], cwd=Path(__file__).resolve().parents[2],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, debian_linux: Path, debian_busybox: Path) -> tuple[Path, str]:
    """A disk that Linux has made a file system on, and what it said."""
    folder = tmp_path_factory.mktemp("disk")
    (folder / "initrd").write_bytes(initrd(debian_linux, debian_busybox, FILL, BLK))
    (folder / "disk").write_bytes(bytes(DISK_SIZE))
    done = run("--kernel", str(debian_linux), "--initrd", str(folder / "initrd"), "--append", APPEND, "--disk", str(folder / "disk"))
    assert (done.returncode, done.stderr) == (0, ""), done
    return folder / "disk", done.stdout


def test_linux_makes_a_file_system_that_is_in_the_file(filled: tuple[Path, str]) -> None:
    disk, console = filled
    assert f"disk: {DISK_SIZE // 512} sectors, read-only 0, named disk\n" in console
    (whole,) = re.findall(r"^whole: ([0-9a-f]{64})$", console, re.MULTILINE)
    data = disk.read_bytes()
    assert whole == hashlib.sha256(data).hexdigest() and b"\n99999\n100000\n" in data
    lines = interrupts(console)
    assert set(lines) == {"virtio0-config", "virtio0-req.0"} and lines["virtio0-req.0"][1] > 20


@pytest.mark.parametrize("append", ["", " pci=nomsi"], ids=["msix", "nomsi"])
def test_another_linux_reads_it_and_cannot_write(append: str, filled: tuple[Path, str], tmp_path: Path, debian_linux: Path, debian_busybox: Path) -> None:
    disk, _ = filled
    before = disk.read_bytes()
    (tmp_path / "initrd").write_bytes(initrd(debian_linux, debian_busybox, LOOK, BLK))
    done = run("--kernel", str(debian_linux), "--initrd", str(tmp_path / "initrd"), "--append", APPEND + append, "--disk", f"{disk},ro", "--cpus", "4")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "disk: read-only 1\n" in done.stdout and f"numbers: {NUMBERS}\n" in done.stdout and "cannot be written\n" in done.stdout
    assert ("virtio0" in interrupts(done.stdout)) == bool(append) and disk.read_bytes() == before


def test_forks_and_snapshots_have_disks_of_their_own(filled: tuple[Path, str], tmp_path: Path, scenarios: Booter, debian_linux: Path,
                                                     debian_busybox: Path) -> None:
    """A file system mounted and written to; copies made between two writes; each reads back from its disk what it wrote itself."""
    before = filled[0].read_bytes()
    disk = FileDisk(filled[0], Access.PRIVATE)
    card = disk_card(disk)
    boot = Linux(debian_linux.read_bytes(), initrd(debian_linux, debian_busybox, SHARE, BLK), APPEND)
    pc = scenarios(boot, Configuration(clock=HOST, cards=(card,)))
    pc.wait_for("^up$", PATIENCE)
    pc.machine.save(tmp_path / "snapshot")
    copies = [pc, pc.fork(), Scenario(Machine.load(tmp_path / "snapshot", cards=(card,)), pc.console)]
    for copy, word in zip(copies, ("one", "two", "three"), strict=True):
        copy.type(f"{word}\n")
    for copy, word in zip(copies, ("one", "two", "three"), strict=True):
        copy.wait_for(f"^it says {word}$", PATIENCE)
        assert not [line for line in copy.machine.log.lines if "virtio" in line]
    for copy in copies[1:]:
        copy.close()
    assert filled[0].read_bytes() == before
    disk.close()


BOOT_SECTOR = """
xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x7c00;
mov si, 0x7d00; mov ah, 0x42; int 0x13; jc failed;
mov si, 0x7d10; mov ah, 0x43; int 0x13; jc failed;
mov si, 0x8000; next: lodsb; test al, al; je done; mov ah, 0x0e; mov bx, 7; int 0x10; jmp next;
done: mov al, 0x10; out 0xf4, al; failed: mov al, 0x11; out 0xf4, al; hlt
"""
SOURCE, TARGET = 5, 9


def test_seabios_boots_from_it(scenarios: Booter, tmp_path: Path, debian_seabios: Path) -> None:
    """A boot sector reads another sector by the BIOS (int 13h, extended), writes it elsewhere, and shows it."""
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, keystone.KS_MODE_16).asm(BOOT_SECTOR, 0x7C00)
    packets = b"".join(struct.pack("<BBHHHQ", 16, 0, 1, 0x8000, 0, sector) for sector in (SOURCE, TARGET))
    image = bytearray(1 << 20)
    image[:SECTOR] = (bytes(code).ljust(0x100, b"\0") + packets).ljust(510, b"\0") + b"\x55\xaa"
    image[SOURCE * SECTOR:SOURCE * SECTOR + 20] = b"found on a disk     "
    (tmp_path / "image").write_bytes(image)
    disk = FileDisk(tmp_path / "image", Access.THROUGH)
    pc = scenarios(Firmware.from_file(debian_seabios), Configuration(clock="instructions", cards=(disk_card(disk),)))
    assert pc.wait_for_end().value == 0x10
    assert "found on a disk" in pc.console, "by the BIOS's serial console"
    disk.close()
    image[TARGET * SECTOR:(TARGET + 1) * SECTOR] = image[SOURCE * SECTOR:(SOURCE + 1) * SECTOR]
    assert (tmp_path / "image").read_bytes() == image


def _without_numbers(console: str) -> list[str]:
    lines = console.replace("\r\n", "\n").splitlines()
    said = lines[next(at for at, line in enumerate(lines) if line.startswith("rng: ")):lines.index("done") + 1]
    return [re.sub(r"\b[0-9a-f]{512}\b|\b\d+(-edge|:)?", "#", line).strip() for line in said]
