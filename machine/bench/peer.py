"""QEMU beside us: the same work on `qemu-system-x86_64 -accel tcg,thread=single`, timed as a process."""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices.core.clock import host_time

QEMU = "qemu-system-x86_64"
PATIENCE = 120                      # seconds for anything
DEBUG_EXIT_CODE = 1                 # 2v + 1 for v = 0


class PeerError(Exception):
    """The peer, or a process of our own, did not do what was asked; one line says what."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: `wall` on the clock, `cpu` of processor time, user and system, of the process and its threads."""

    wall: float
    cpu: float


def found() -> str | None:
    """Where QEMU is, None if it is not here."""
    return shutil.which(QEMU)


def timed(command: list[str], good: tuple[int, ...] = (0,), seen: bytes = b"") -> Cost:
    """What a process costs from start to end. Raises PeerError where it ends otherwise than with a good exit code and `seen` in its output."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), host_time()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{Path(command[0]).name} did not end within {PATIENCE} s") from None
    wall, after = (host_time() - started) / 1e9, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in good or seen not in done.stdout:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise PeerError(f"{Path(command[0]).name} ended with {done.returncode}: {said[-1] if said else 'no output'}")
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def qemu(*options: str, cpus: int = 1, memory: int = 256) -> list[str]:
    """A command line: Q35 without anything that is not asked for, serial port on standard output, one thread for all vCPUs."""
    return [QEMU, "-machine", "q35", "-accel", "tcg,thread=single", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-smp", str(cpus),
            "-m", str(memory), *options]


def rom_seconds(image: bytes) -> float:
    """Processor time of a ROM that ends by the debug-exit port."""
    with tempfile.NamedTemporaryFile(suffix=".rom") as file:
        file.write(image)
        file.flush()
        return timed(qemu("-bios", file.name, "-device", "isa-debug-exit,iobase=0xf4,iosize=4", memory=16), (DEBUG_EXIT_CODE,)).cpu
