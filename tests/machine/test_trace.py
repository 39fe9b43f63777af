"""Traces: what is in them, and that they repeat."""

from __future__ import annotations

import hashlib

from images.builder import build
from machine import Configuration, ExitReason, Firmware, Machine
from machine.trace import Trace
from tests.boot import files_of
from tests.machine.rom import rom, say


def test_accesses_by_name_with_time() -> None:
    machine = Machine(Firmware(rom(say("A") + "mov al, 0x0b; out 0x70, al; in al, 0x71; mov al, 1; out 0xf4, al; hlt")),
                      Configuration(memory=4 << 20, clock="instructions"))
    lines: list[bytes] = []
    trace = Trace(machine, lines.append)
    machine.run(timeout=5.0)
    text = b"".join(lines).decode()
    assert "cpu0 com1: LCR <- 0x3 (" in text and "THR <- 0x41" in text and "rtc: DATA -> 0x2" in text and "debug-exit: EXIT <- 0x1" in text
    times = [int(line.split()[0]) for line in text.splitlines()]
    assert times == sorted(times) and times[-1] > 0
    trace.close()
    count = len(lines)
    machine.ports.read(0x71, 1)
    assert len(lines) == count
    machine.close()


def boot_once(seed: int | None) -> tuple[str, str, bytes, int, str]:
    """Our own firmware, loader and nucleus on four vCPUs until it idles without a kernel: digests of trace, RAM and what was said."""
    images = build()
    machine = Machine(Firmware(images.rom, files_of(images)), Configuration(memory=32 << 20, cpus=4, clock="instructions", schedule_seed=seed))
    digest, output, kinds = hashlib.sha256(), bytearray(), set()

    def told(line: bytes) -> None:
        digest.update(line)
        kinds.add(line.split()[2 if b" takes " in line else 1])
    machine.board.serial_out = output.extend
    Trace(machine, told)
    assert machine.run(until=lambda: machine.clock.now() > 60_000_000, timeout=60.0).reason is ExitReason.CONDITION
    assert b"no gate" in output and {b"takes", b"dma"} <= kinds
    ram = hashlib.sha256(machine.memory.read(0, 0xA0000) + machine.memory.read(0xC0000, (32 << 20) - 0xC0000)).hexdigest()
    result = digest.hexdigest(), ram, bytes(output), machine.stats.retired, str(machine.clock.now())
    machine.close()
    return result


def test_two_runs_of_four_processors_are_the_same_bit_for_bit() -> None:
    first, second = boot_once(None), boot_once(None)
    assert first == second


def test_a_schedule_seed_gives_its_own_run_each_time() -> None:
    seeded = boot_once(3)
    assert seeded == boot_once(3) and seeded[0] != boot_once(None)[0]
