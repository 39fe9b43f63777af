"""Boots ROM images on our PC or on QEMU and hands back what came out of COM1."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from images.builder import Images
from machine.boot import Firmware
from machine.configuration import INSTRUCTIONS, Configuration
from machine.machine import Machine
from machine.outcome import Outcome

NUCLEUS, ARCHIVE, CMDLINE = "opt/folkering/nucleus", "opt/folkering/archive", "opt/folkering/cmdline"
QEMU = "qemu-system-x86_64"
MIB = 1 << 20
LIMIT = 1_000_000_000               # ns of virtual time: what has not come by then does not come


def files_of(images: Images, cmdline: str = "") -> dict[str, bytes]:
    """What fw_cfg offers for a boot of these images."""
    return {NUCLEUS: images.nucleus, ARCHIVE: images.archive, CMDLINE: cmdline.encode()}


@dataclass
class Pc:
    """A machine under test and its serial output."""

    machine: Machine
    output: bytearray

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace").replace("\r\n", "\n")

    def run(self, until: str | Callable[[], bool], service: Callable[[], None] | None = None, limit: int = LIMIT) -> Outcome:
        """Run until COM1 has said `until`, or something is true. AssertionError, with the output, when it does not come in virtual time."""
        end = self.machine.clock.now() + limit

        def reached() -> bool:
            return until.encode() in self.output if isinstance(until, str) else until()
        outcome = self.machine.run(lambda: reached() or self.machine.clock.now() >= end, service)
        assert reached(), f"{until!r} did not come: {outcome}\n{self.text}"
        return outcome


@contextmanager
def pc(rom: bytes, files: dict[str, bytes], *, cpus: int = 1, memory: int = 64 * MIB, clock: str = INSTRUCTIONS, reboot: bool = False) -> Iterator[Pc]:
    """A PC that starts at the reset vector of `rom`."""
    machine = Machine(Firmware(rom, files), Configuration(memory, cpus, clock, reboot=reboot))
    output = bytearray()
    machine.board.serial_out = output.extend
    try:
        yield Pc(machine, output)
    finally:
        machine.close()


def qemu(rom: bytes, files: dict[str, bytes], *options: str, until: str, seconds: float = 20) -> str:
    """What COM1 of QEMU's q35 says, up to and with the line that holds `until`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rom").write_bytes(rom)
        given = []
        for number, (key, data) in enumerate(files.items()):
            (folder / str(number)).write_bytes(data)
            given += ["-fw_cfg", f"name={key},file={folder / str(number)}"]
        return _watch(["-bios", str(folder / "rom"), *options, *given], until, seconds)


def qemu_kernel(kernel: bytes, *options: str, until: str, seconds: float = 30) -> str:
    """The same of a multiboot kernel, which QEMU's own firmware starts."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "kernel"
        path.write_bytes(kernel)
        return _watch(["-kernel", str(path), *options], until, seconds)


def _watch(options: list[str], until: str, seconds: float) -> str:
    command = [QEMU, "-M", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        lines, deadline = [], time.monotonic() + seconds
        try:
            for line in process.stdout:
                lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
                if until in lines[-1] or time.monotonic() > deadline:
                    break
        finally:
            process.kill()
    return "\n".join(lines)


def has_qemu() -> bool:
    return shutil.which(QEMU) is not None
