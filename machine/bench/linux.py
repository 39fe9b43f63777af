"""Linux from power-on to user space and power-off, as processes, ours and QEMU's in turn; and copies of a booted Linux."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from devices.core.clock import host_time
from machine.bench import peer
from machine.bench.peer import Cost, PeerError, qemu, timed
from machine.bench.rows import Row, against_peer, within
from machine.boot import Linux
from machine.loaders.initrd import build
from machine.configuration import Configuration
from machine.machine import Machine
from machine.memory import MIB, PAGE

APPEND = "console=ttyS0"
AT_USER_SPACE = "bench: user space"
SCRIPT = f'mount -t proc proc /proc\necho "{AT_USER_SPACE}"\npoweroff -f\n'
SHELL = f'echo "{AT_USER_SPACE}"\nexec sh\n'
PROCESSORS = (1, 4)
LEAST = 0.5                         # of QEMU's speed: twice its time
MEMORY, MOST_MEMORY = 256, 150.0    # MiB
RESTORE, FORK = 5.0, 50.0           # ms
ICOUNT = "shift=3,sleep=off"        # 8 ns an instruction, and halted processors skip to the next timer, as on ours
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Guest:
    """What is booted, and the command that starts `folkering.py`."""

    kernel: Path
    busybox: Path
    launcher: Path


def boots(guest: Guest, pairs: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """User space with 1 and 4 vCPUs, and on the instruction clock. Ratios are of processor time, which a busy host does not spoil; the times are shown, too."""
    with tempfile.TemporaryDirectory() as folder:
        initrd = Path(folder) / "initrd"
        initrd.write_bytes(build(guest.busybox, SCRIPT))
        for cpus in PROCESSORS:
            doc = f"Linux to user space, {cpus} vCPU{'s' if cpus > 1 else ''}"
            tell(doc)
            try:
                costs = [(_ours(guest, initrd, cpus), _theirs(guest, initrd, cpus)) for _ in range(pairs)]
            except PeerError as trouble:
                yield Row(f"linux-{cpus}", doc, note=str(trouble))
                continue
            yield against_peer(f"linux-{cpus}", f"{doc}, processor time", "s", [(mine.cpu, other.cpu if other else None) for mine, other in costs], LEAST)
            walls = [other.wall for _, other in costs if other is not None]
            yield within(f"linux-{cpus}-wall", f"{doc}, on the clock", "s", [mine.wall for mine, _ in costs], None, walls)
        doc = "the same with 1 vCPU on the instruction clock"
        tell(doc)
        try:
            counted = [(_ours(guest, initrd, 1, "--clock", "instructions"), _theirs(guest, initrd, 1, "-icount", ICOUNT)) for _ in range(pairs)]
        except PeerError as trouble:
            yield Row("linux-counted", doc, note=str(trouble))
        else:
            others = [other.cpu for _, other in counted if other is not None]
            yield within("linux-counted", f"{doc}, processor time", "s", [mine.cpu for mine, _ in counted], None, others)


def _ours(guest: Guest, initrd: Path, cpus: int, *options: str) -> Cost:
    return timed([sys.executable, str(guest.launcher), "run", "--kernel", str(guest.kernel), "--initrd", str(initrd), "--append", APPEND,
                  "--cpus", str(cpus), "--memory", str(MEMORY), *options], seen=AT_USER_SPACE.encode())


def _theirs(guest: Guest, initrd: Path, cpus: int, *options: str) -> Cost | None:
    if peer.found() is None:
        return None
    return timed(qemu("-kernel", str(guest.kernel), "-initrd", str(initrd), "-append", APPEND, *options, cpus=cpus, memory=MEMORY), seen=AT_USER_SPACE.encode())


class Booted:
    """A Linux with four vCPUs whose shell waits at its serial port."""

    def __init__(self, guest: Guest, cpus: int = 4) -> None:
        linux = Linux(guest.kernel.read_bytes(), build(guest.busybox, SHELL), f"{APPEND} quiet")
        self.machine = Machine(linux, Configuration(MEMORY * MIB, cpus))
        self.wait(self.machine, AT_USER_SPACE.encode())
        self.wait(self.machine, b"# ")

    def wait(self, machine: Machine, text: bytes) -> None:
        """Run until COM1 has said `text` from now on. Raises PeerError."""
        output = bytearray()
        machine.board.serial_out = output.extend
        outcome = machine.run(lambda: text in output, timeout=PATIENCE)
        if text not in output:
            raise PeerError(f"Linux did not say {text.decode()!r}: {outcome.reason.value} {outcome.detail}")


def copies(guest: Guest, rounds: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Checkpoints, restoring, forks and snapshot files of a booted machine, and its memory."""
    tell("copies of a booted Linux")
    booted = Booted(guest)
    machine = booted.machine
    try:
        yield within("memory", f"host memory beyond the guest's {MEMORY} MiB", "MiB", [_beyond_ram(machine)], MOST_MEMORY)
        yield within("checkpoint", "checkpoint of a booted Linux, 4 vCPUs", "ms", _times(rounds, machine.checkpoint), None)
        checkpoint = machine.checkpoint()
        yield within("restore", "restore it in the same process", "ms", _times(rounds, lambda: machine.restore(checkpoint)), RESTORE)

        def one_command() -> None:
            copy = machine.fork(checkpoint)
            try:
                copy.board.serial.receive(b"echo $((6*7))\n")
                booted.wait(copy, b"\n42\r")
            finally:
                copy.close()

        yield within("fork", "fork it, run one command, throw it away", "ms", _times(rounds, one_command), FORK)
        def in_place() -> None:
            machine.restore(checkpoint)
            machine.board.serial.receive(b"echo $((6*7))\n")
            booted.wait(machine, b"\n42\r")

        yield within("restore-run", "restore it, run one command", "ms", _times(rounds, in_place), FORK)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "snapshot"
            yield within("save", "save it to a file", "ms", _times(1, lambda: machine.save(file)), None)
            yield within("load", "load that file", "ms", _times(1, lambda: Machine.load(file).close()), None)
            yield within("snapshot-size", "size of that file", "MiB", [file.stat().st_size / MIB], None)
    finally:
        machine.close()


def _times(rounds: int, action: Callable[[], object]) -> list[float]:
    """Milliseconds of wall time of each of several runs."""
    times = []
    for _ in range(rounds):
        started = host_time()
        action()
        times.append((host_time() - started) / 1e6)
    return times


def _beyond_ram(machine: Machine) -> float:
    """MiB of this process that are resident and not the guest's RAM (proc(5): statm, and bit 63 of an entry of pagemap)."""
    total = int(Path("/proc/self/statm").read_text().split()[1])
    present = 0
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        for mapping in (*machine.memory.mappings, *(segment.ram for segment in machine.memory.segments)):
            pagemap.seek(mapping.host // PAGE * 8)
            present += sum(entry >> 63 for entry in memoryview(pagemap.read(mapping.length // PAGE * 8)).cast("Q"))
    return (total - present) * PAGE / MIB


def to_prompt(launcher: Path, rounds: int, tell: Callable[[str], None]) -> Row:
    """`folkering.py boot`, from the command to the prompt, with the images assembled before."""
    doc = "folkering.py boot to the prompt"
    tell(doc)
    command = [sys.executable, str(launcher), "boot", "--fresh", "--until", "folk> ", "-c", "echo"]
    try:
        timed(command)
        return within("boot", doc, "s", [timed(command, seen=b"folk> ").wall for _ in range(rounds)], 2.0)
    except PeerError as trouble:
        return Row("boot", doc, note=str(trouble))
