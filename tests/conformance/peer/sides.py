"""The two sides: our PC and QEMU's q35, each carrying out a script and handing back its answers.

QEMU counts instructions as we do (`-icount`, 8 ns each), so that its answers, too, are the same each time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from machine.boot import Firmware
from machine.configuration import INSTRUCTIONS, Configuration
from machine.machine import Machine
from machine.outcome import ExitReason
from tests.conformance.peer.guest import image

QEMU = "qemu-system-x86_64"
MEMORY = 64                             # MiB
LEFT = 1                                # QEMU's exit code where a guest writes 0 to its debug-exit port
PATIENCE = 60                           # seconds
OPTIONS = (
    "-M", "q35", "-accel", "tcg", "-icount", "shift=3,sleep=off", "-m", str(MEMORY), "-nodefaults", "-display", "none", "-no-reboot", "-serial", "null",
    "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-device", "isa-debug-exit,iobase=0xf4,iosize=4")


def ours(records: bytes) -> list[str]:
    """What our PC answers."""
    said = bytearray()
    machine = Machine(Firmware(image(records)), Configuration(MEMORY << 20, clock=INSTRUCTIONS, reboot=False))
    machine.board.debug_out = said.extend
    try:
        outcome = machine.run(timeout=PATIENCE)
    finally:
        machine.close()
    assert outcome.reason is ExitReason.DEBUG_EXIT, f"{outcome}\n{said[-200:].decode()}"
    return said.decode().splitlines()


def version() -> str | None:
    """The version of the QEMU that is installed, such as "7.2.22"; None without one."""
    path = shutil.which(QEMU)
    if path is None:
        return None
    match = re.search(r"version (\d+\.\d+\.\d+)", subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout)
    return match[1] if match else None


def qemu(records: bytes, *options: str) -> list[str]:
    """What QEMU answers."""
    with tempfile.TemporaryDirectory() as name:
        rom, out = Path(name) / "rom", Path(name) / "out"
        rom.write_bytes(image(records))
        command = [QEMU, *OPTIONS, "-bios", str(rom), "-debugcon", f"file:{out}", *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
        said = out.read_text() if out.exists() else ""
    assert done.returncode == LEFT, f"QEMU ended with {done.returncode}: {done.stderr.decode()}\n{said[-200:]}"
    return said.splitlines()
