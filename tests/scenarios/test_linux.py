"""Unmodified Linux with KASLR, default mitigations and `console=ttyS0` alone, by `folkering.py run` as its users have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.linux_guest import complaints, full_initrd, quick_initrd

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120                      # seconds of host time for what takes three to six


def run(tmp_path: Path, kernel: Path, initrd: bytes, *options: str, append: str = "console=ttyS0") -> subprocess.CompletedProcess[bytes]:
    (tmp_path / "initrd").write_bytes(initrd)
    command = [sys.executable, "folkering.py", "run", "--kernel", str(kernel), "--initrd", str(tmp_path / "initrd"), "--append", append,
               "--timeout", str(PATIENCE), "--stats", str(tmp_path / "stats"), *options]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False)


@pytest.mark.parametrize("cpus", [1, 4])
def test_user_space_processors_timers_arithmetic_and_the_end(cpus: int, tmp_path: Path, debian_linux: Path, debian_busybox: Path) -> None:
    """`nproc`, local timer interrupts on every CPU, the SHA-256 of 16 MiB equal to the host's, four processes at once, power-off by ACPI."""
    done = run(tmp_path, debian_linux, full_initrd(debian_busybox), "--cpus", str(cpus))
    text = done.stdout.decode(errors="replace")
    assert not complaints(text, cpus), text
    assert (done.returncode, done.stderr) == (0, b"")
    assert "KASLR disabled" not in text and "Mitigation" in text, "defaults of the kernel"
    assert not [line for line in text.splitlines() if "BUG:" in line or "WARNING:" in line or "Oops" in line or "soft lockup" in line]
    stats = json.loads((tmp_path / "stats").read_text())
    assert stats["exit_reason"] == "power off"
    assert len(stats["interrupts"]) == cpus and min(stats["interrupts"]) > 10


def test_two_boots_by_counted_instructions_are_one(tmp_path: Path, debian_linux: Path, debian_busybox: Path) -> None:
    """Four vCPUs under the instruction clock: console and count of instructions repeat to the byte."""
    runs = [run(tmp_path, debian_linux, quick_initrd(debian_busybox), "--cpus", "4", "--clock", "instructions") for _ in range(2)]
    figures = json.loads((tmp_path / "stats").read_text())
    assert [done.returncode for done in runs] == [0, 0]
    assert runs[0].stdout == runs[1].stdout and b"init: nproc 4" in runs[0].stdout
    assert figures["retired"] > 100_000_000


def test_complaints_see_what_is_missing() -> None:
    assert len(complaints("init: user space\r\ninit: nproc 2\r\n", 4)) == 5
