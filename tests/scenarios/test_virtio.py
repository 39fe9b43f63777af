"""Virtio devices under Linux's own drivers, modules of Debian's kernel: interrupts by MSI-X and by the pin, copies made in the middle, QEMU as a peer."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.backends.entropy import SeededEntropy
from devices.pci.card import Card
from devices.virtio.rng import VirtioRng
from devices.virtio.transport_pci import VirtioPci, plug_in
from machine import Configuration, Linux, Machine
from machine.bench import peer
from machine.cards import CARDS
from machine.loaders.initrd import build
from machine.machine import HOST
from machine.scenario.scenario import Scenario
from tests.linux_guest import drivers

pytestmark = pytest.mark.guest

Booter = Callable[..., Scenario]

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
    pc.wait_for("^done$")
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
    pc.wait_for_end()


def test_a_copy_made_while_bytes_flow_reads_the_same(scenarios: Booter, tmp_path: Path, debian_linux: Path, debian_busybox: Path) -> None:
    """The machine, a fork of it and a snapshot loaded again read on from one moment in the middle: 16 KiB, by the digest of all."""
    boot = Linux(debian_linux.read_bytes(), initrd(debian_linux, debian_busybox, COPYING), APPEND)
    pc = scenarios(boot, Configuration(clock="instructions", cards=(SEEDED,)))
    pc.wait_for("^up$")
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
    pc.wait_for_end()
    ours, theirs = (_without_numbers(console) for console in (pc.console, theirs))
    assert ours == theirs and len(ours) == 5


def _without_numbers(console: str) -> list[str]:
    lines = console.replace("\r\n", "\n").splitlines()
    said = lines[next(at for at, line in enumerate(lines) if line.startswith("rng: ")):lines.index("done") + 1]
    return [re.sub(r"\b[0-9a-f]{512}\b|\b\d+(-edge|:)?", "#", line).strip() for line in said]
