"""Other people's systems, unmodified: Debian's Linux to user space and off again, and SeaBIOS from the reset vector. Through `run`, as users have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from machine import ExitReason, Firmware, Machine
from tests.guests import debian_busybox, debian_linux, debian_seabios
from tests.linux_guest import BLOB_DIGEST, FOUR_DIGEST, full_initrd, quick_initrd

__all__ = ["debian_busybox", "debian_linux", "debian_seabios"]       # fixtures

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240                   # seconds of wall time for what takes some six, with room for a slow host
CONSOLE = "console=ttyS0 loglevel=4"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "folkering.py", "run", "--timeout", str(PATIENCE), *options], cwd=ROOT, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", timeout=PATIENCE + 30, check=False)


def says(output: str, name: str) -> str:
    """What the guest's init said behind `init: name`."""
    lines = [line.partition(f"init: {name} ")[2].strip() for line in output.splitlines() if f"init: {name} " in line]
    assert len(lines) == 1, f"init should have said {name} once:\n{output[-2000:]}"
    return lines[0]


@pytest.mark.parametrize("cpus", [1, 4])
def test_debian_linux_to_user_space_and_off(cpus: int, debian_linux: Path, debian_busybox: Path, tmp_path: Path) -> None:
    """KASLR and default mitigations on: processors, local timers, arithmetic over 16 MiB, four processes at once, ACPI power-off."""
    initrd, stats = tmp_path / "initrd", tmp_path / "stats"
    initrd.write_bytes(full_initrd(debian_busybox))
    done = run("--kernel", str(debian_linux), "--initrd", str(initrd), "--append", CONSOLE, "--cpus", str(cpus), "--stats", str(stats))
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    assert "init: user space" in done.stdout and "init: done" in done.stdout
    assert says(done.stdout, "nproc") == str(cpus)
    assert says(done.stdout, "sha256") == BLOB_DIGEST
    assert says(done.stdout, "four") == FOUR_DIGEST
    (local,) = [line.split() for line in done.stdout.splitlines() if line.lstrip().startswith("LOC:")]
    assert all(int(count) > 0 for count in local[1:1 + cpus]) and len(local[1:1 + cpus]) == cpus
    figures = json.loads(stats.read_text())
    assert figures["exit_reason"] == "power off"
    assert len(figures["interrupts"]) == cpus and min(figures["interrupts"]) > 0
    assert figures["triple_faults"] == 0 and figures["wall_seconds"] > 0 and figures["slices"] > 0 and figures["rss_mib"] > 0


def test_exit_on_a_text_of_linux(debian_linux: Path, debian_busybox: Path, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(quick_initrd(debian_busybox))
    done = run("--kernel", str(debian_linux), "--initrd", str(initrd), "--append", CONSOLE, "--exit-on", r"init: nproc \d+")
    assert done.returncode == 0
    assert "init: nproc 1" in done.stdout and "Power down" not in done.stdout


def test_linux_that_panics_resets_and_that_ends_the_run(debian_linux: Path) -> None:
    done = run("--kernel", str(debian_linux), "--append", f"{CONSOLE} panic=-1", "--no-reboot")
    assert done.returncode == 3
    assert "Kernel panic" in done.stdout and "reset" in done.stderr


def test_seabios_from_the_reset_vector(debian_seabios: Path) -> None:
    """It finds no disk to boot from, and says so."""
    machine = Machine(Firmware.from_file(debian_seabios))
    said = bytearray()
    machine.board.debug_out = said.extend
    try:
        outcome = machine.run(until=lambda: b"No bootable device." in said, timeout=PATIENCE)
    finally:
        machine.close()
    assert outcome.reason is ExitReason.CONDITION, said.decode(errors="replace")
    assert b"SeaBIOS (version" in said
