"""A booted Linux in copies: saved and loaded by another process, forked a hundred times, recorded and replayed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.core.clock import host_time
from machine import Configuration, ExitReason, Linux, Machine
from machine.loaders.initrd import build

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0                    # seconds of host time for what takes ten at most
SHELL = 'mount -t proc proc /proc\necho "user space"\nexec sh\n'
LINES = 'echo "user space"\nwhile read -r line; do eval "$line"; echo "answered $?"; done\n'      # no line editor, which asks and waits
PROMPT, ANSWERED = b"/ # ", b"answered 0\r\n"
FORKS = 100


def run(*options: str, typed: bytes = b"", behind: bytes = PROMPT) -> tuple[int, bytes, bytes]:
    """`folkering.py run`, and lines typed each behind a prompt. Returns exit code, output, and what it said on standard error."""
    command = [sys.executable, "folkering.py", "run", "--timeout", str(PATIENCE), *options]
    output, seen = bytearray(), 0
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for line in typed.splitlines(keepends=True):
            while behind not in output[seen:]:
                piece = process.stdout.read(4096)
                assert piece, output
                output += piece
            seen = len(output)
            process.stdin.write(line)
        while piece := process.stdout.read(1 << 16):
            output += piece
        said = process.stderr.read()
    return process.returncode, bytes(output), said


@pytest.fixture
def linux(tmp_path: Path, debian_linux: Path, debian_busybox: Path) -> tuple[str, ...]:
    """Options that start a Linux whose shell waits at COM1."""
    (tmp_path / "initrd").write_bytes(build(debian_busybox, SHELL))
    return "--kernel", str(debian_linux), "--initrd", str(tmp_path / "initrd"), "--append", "console=ttyS0 quiet"


def test_saved_at_user_space_it_goes_on_in_another_process(linux: tuple[str, ...], tmp_path: Path) -> None:
    saved, stats = str(tmp_path / "saved"), tmp_path / "stats"
    code, output, said = run(*linux, "--cpus", "4", "--exit-on", "/ # ", "--save", saved)
    assert code == 0 and output.endswith(PROMPT) and b"Traceback" not in said
    for _ in range(2):
        code, output, said = run("--load", saved, "--stats", str(stats), typed=b"echo $((6*7)) $(nproc); poweroff -f\n", behind=b"")
        assert (code, said) == (0, b"") and b"\n42 4\r\n" in output and b"user space" not in output
        assert json.loads(stats.read_text())["exit_reason"] == "power off"


def test_a_recorded_session_is_the_same_in_another_process(linux: tuple[str, ...], tmp_path: Path) -> None:
    """Four vCPUs, typed by a host that keeps its own time: console, trace, and by the recording's digest RAM, registers and chips."""
    typed, stats = str(tmp_path / "typed"), tmp_path / "stats"
    lines = b"cat /proc/interrupts | sha256sum\nhead -c 300000 /dev/urandom | sha256sum\npoweroff -f\n"
    traces = [tmp_path / name for name in ("recorded", "replayed")]
    recorded = run(*linux, "--cpus", "4", "--record", typed, "--trace", str(traces[0]), "--stats", str(stats), typed=lines)
    retired = json.loads(stats.read_text())["retired"]
    assert recorded[0] == 0 and recorded[2] == b"" and recorded[1].count(b"  -\r\n") == 2
    assert run(*linux, "--cpus", "4", "--replay", typed, "--trace", str(traces[1]), "--stats", str(stats)) == recorded
    assert json.loads(stats.read_text())["retired"] == retired > 100_000_000
    assert traces[0].read_bytes() == traces[1].read_bytes() and traces[0].stat().st_size > 1_000_000


@pytest.fixture
def booted(debian_linux: Path, debian_busybox: Path) -> Iterator[Machine]:
    machine = Machine(Linux(debian_linux.read_bytes(), build(debian_busybox, LINES), "console=ttyS0 quiet"), Configuration(cpus=4))
    wait_for(machine, b"user space\r\n")
    wait_for(machine, ANSWERED, b"true\n")
    yield machine
    machine.close()


def wait_for(machine: Machine, text: bytes, typed: bytes = b"") -> bytes:
    """Type a line as the chip takes it, and run until COM1 has said `text`."""
    output, left = bytearray(), bytearray(typed)
    machine.board.serial_out = output.extend

    def over() -> bool:
        room = min(machine.board.serial.space(), len(left))
        if room:
            machine.board.serial.receive(bytes(left[:room]))
            del left[:room]
        return text in output

    assert machine.run(over, timeout=PATIENCE).reason is ExitReason.CONDITION, output
    return bytes(output)


def test_a_hundred_forks_each_run_one_command(booted: Machine, record_property: pytest.RecordProperty) -> None:
    """Each writes its own number to a file that none of the others has."""
    checkpoint = booted.checkpoint()
    forks: list[float] = []
    restores: list[float] = []
    for number in range(FORKS):
        began = host_time()
        fork = booted.fork(checkpoint)
        try:
            assert b"\n1 of %d\r\n" % (7 * number) in wait_for(fork, ANSWERED, b"[ -e mine ]; echo $? of $((7*%d)); >mine\n" % number)
        finally:
            fork.close()
        forks.append((host_time() - began) / 1e6)
        began = host_time()
        booted.restore(checkpoint)
        restores.append((host_time() - began) / 1e6)
    medians = statistics.median(forks), statistics.median(restores)
    record_property("fork, one command, throw away: median ms", medians[0])
    record_property("restore: median ms", medians[1])
    print(f"{FORKS} forks: fork + command + close {medians[0]:.1f} ms, restore {medians[1]:.2f} ms (medians)")
    assert b"\n1\r\n" in wait_for(booted, ANSWERED, b"[ -e mine ]; echo $?\n"), "and the original has none of it"
