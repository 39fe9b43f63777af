"""The Linux that tests boot: Debian's kernel with an init that does a little of everything and says what it saw."""

from __future__ import annotations

import hashlib
import lzma
import random
from pathlib import Path

from machine.loaders.initrd import build

BLOB_SIZE = 16 << 20
BLOB = random.Random(1).randbytes(BLOB_SIZE)
BLOB_DIGEST = hashlib.sha256(BLOB).hexdigest()

SCRIPT = """
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "init: user space"
echo "init: nproc $(nproc)"
for n in 1 2 3 4; do (sum=$(head -c 4194304 /blob | sha256sum | head -c 64); echo "$sum" > /tmp/part$n) & done
wait
echo "init: four $(cat /tmp/part1 /tmp/part2 /tmp/part3 /tmp/part4 | sha256sum | head -c 64)"
echo "init: sha256 $(sha256sum /blob | head -c 64)"
sleep 0.2
grep -E 'LOC|timer' /proc/interrupts
echo "init: done"
poweroff -f
"""
PART_DIGEST = hashlib.sha256(BLOB[:4 << 20]).hexdigest()
FOUR_DIGEST = hashlib.sha256((PART_DIGEST + "\n").encode() * 4).hexdigest()
QUICK_SCRIPT = """
mount -t proc proc /proc
echo "init: nproc $(nproc)"
poweroff -f
"""


def full_initrd(busybox: Path) -> bytes:
    """The init that checks processors, interrupts, arithmetic and several processes, then powers off."""
    return build(busybox, SCRIPT, {"blob": BLOB})


def quick_initrd(busybox: Path) -> bytes:
    """The init that says how many processors it has and powers off."""
    return build(busybox, QUICK_SCRIPT)


def complaints(console: str, cpus: int) -> list[str]:
    """What the console of a boot with the full initrd lacks: processors, results, and timer interrupts on each processor; empty if all is there."""
    lines = console.replace("\r\n", "\n").splitlines()
    wanted = ("init: user space", f"init: nproc {cpus}", f"init: four {FOUR_DIGEST}", f"init: sha256 {BLOB_DIGEST}", "init: done")
    missing = [f"no line {line!r}" for line in wanted if line not in lines]
    timers = next((line.split()[1:1 + cpus] for line in lines if line.strip().startswith("LOC:")), [])
    if len(timers) < cpus or any(not count.isdigit() or int(count) == 0 for count in timers):
        missing.append(f"local timer interrupts: {timers}")
    return missing


def drivers(kernel: Path, *names: str) -> dict[str, bytes]:
    """Modules of Debian's package, by the name of their file, e.g. "virtio/virtio_pci"; the newer packages compress them."""
    files = {}
    for name in names:
        (found,) = kernel.parents[1].glob(f"**/kernel/drivers/{name}.ko*")
        data = found.read_bytes()
        files[f"{Path(name).name}.ko"] = lzma.decompress(data) if found.suffix == ".xz" else data
    return files
