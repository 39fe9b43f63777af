"""Forks use one engine after the other: what a closed one has translated serves the next, and nothing else of it is left."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import Configuration, ExitReason, Firmware, Machine, MachineError
from machine.checkpoint import digest
from machine.core import KEPT, Spare
from machine.memory import MIB
from tests.machine.rom import EIGHT_BITS, rom

# Counts on COM1 and in memory, reads the time-stamp counter, and calls a routine in RAM that adds one to its own operand each time.
GUEST = (EIGHT_BITS + "xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov bx, 0;"
         "again: .byte 0x9a, 0x00, 0x80, 0x00, 0x00; inc byte ptr [0x8001]; mov dx, 0x3f8; out dx, al; rdtsc; mov dword ptr [0x600], eax; inc word ptr [0x604];"
         "mov cx, 200; wait: loop wait; jmp again")
ROUTINE = b"\xb0\x01\xcb"              # mov al, 1; retf
END = 20_000                           # instructions


@pytest.fixture
def parent() -> Iterator[Machine]:
    machine = Machine(Firmware(rom(GUEST)), Configuration(4 * MIB, clock="instructions"))
    machine.board.as_firmware_leaves_it()
    machine.memory.write(0x8000, ROUTINE)
    machine.run(limit=5_000)
    yield machine
    machine.close()


def future(machine: Machine) -> tuple[bytes, str]:
    output = bytearray()
    machine.board.serial_out = output.extend
    assert machine.run(limit=END).reason is ExitReason.CONDITION
    return bytes(output), digest(machine)


def test_a_fork_with_a_used_engine_has_the_same_future(parent: Machine) -> None:
    checkpoint = parent.checkpoint()
    futures = []
    engines = set()
    for _ in range(4):
        fork = parent.fork(checkpoint)
        engines.add(fork.engine.instance.uc)
        futures.append(future(fork))
        fork.close()
    assert len(engines) == 1, "each fork took the engine of the one before"
    futures.append(future(parent))
    assert len(set(futures)) == 1 and len(futures[0][0]) > 20


def test_forks_that_live_side_by_side_have_engines_of_their_own(parent: Machine) -> None:
    checkpoint = parent.checkpoint()
    forks = [parent.fork(checkpoint) for _ in range(KEPT + 2)]
    assert len({fork.engine.instance.uc for fork in forks}) == len(forks)
    futures = {future(fork) for fork in forks}
    for fork in forks:
        fork.close()
    assert len(futures) == 1 and len(checkpoint.ram.spares) == KEPT


def test_nothing_of_a_closed_fork_is_left(parent: Machine) -> None:
    checkpoint = parent.checkpoint()
    first = parent.fork(checkpoint)
    told: list[object] = []
    first.engine.on_interrupt = lambda cpu, vector: told.append(vector)
    first.listeners.append(lambda inlet, data: told.append(data))
    first.ports.read(0x1234, 1)                            # nothing is there: noted
    first.memory.write(0x8000, b"\xb0\x7f\xcb")
    first.board.serial.receive(b"typed")
    first.run(limit=END)
    first.close()
    told.clear()
    second = parent.fork(checkpoint)
    assert not second.log.counts and not second.listeners and second.engine.on_interrupt is None and second.engine.slices == 0
    assert future(second) == future(parent) and not told
    second.close()


def test_an_engine_that_a_debugger_has_changed_is_not_used_again(parent: Machine) -> None:
    checkpoint = parent.checkpoint()
    fork = parent.fork(checkpoint)
    fork.engine.breakpoints.add(0xF000E)
    fork.close()
    assert not checkpoint.ram.spares


def test_another_machine_does_not_take_it(parent: Machine) -> None:
    checkpoint = parent.checkpoint()
    parent.fork(checkpoint).close()
    assert len(checkpoint.ram.spares) == 1
    other = Machine(Firmware(rom(GUEST)), Configuration(4 * MIB, clock="instructions"), checkpoint=checkpoint)
    assert len(checkpoint.ram.spares) == 1, "another boot: its ROM need not be the same"
    other.close()


def test_spares_go_with_their_image(parent: Machine) -> None:
    checkpoint = parent.checkpoint()
    parent.fork(checkpoint).close()
    (spare,) = checkpoint.ram.spares
    assert isinstance(spare, Spare) and spare.core.engine.instance.uc
    parent.memory.write(0x600, b"anything")
    parent.checkpoint()
    del checkpoint
    gc.collect()
    assert not spare.core.engine.instance.uc


def test_the_same_memory_is_frozen_once(parent: Machine) -> None:
    first, second = parent.checkpoint(), parent.checkpoint()
    assert first.ram is second.ram
    parent.memory.write(0x600, b"x")
    assert parent.checkpoint().ram is not first.ram


def test_a_closed_machine_says_so(parent: Machine) -> None:
    fork = parent.fork()
    fork.close()
    fork.close()
    for use in (lambda: fork.run(timeout=1.0), lambda: fork.memory.read(0, 1), lambda: fork.step(0), fork.checkpoint):
        with pytest.raises(MachineError, match="this machine is closed"):
            use()


def test_a_machine_is_not_closed_while_it_runs(parent: Machine) -> None:
    failures: list[str] = []

    def output(_data: bytes) -> None:
        try:
            parent.close()
        except MachineError as error:
            failures.append(str(error))

    parent.board.serial_out = output
    parent.run(limit=END)
    assert failures and failures[0] == "a machine cannot be closed in the middle of a slice"


def test_a_machine_that_nobody_can_reach_is_closed() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    def engines() -> int:
        return sum("x" in line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines())

    machine = Machine(Firmware(rom(GUEST)), Configuration(4 * MIB, clock="instructions"))
    checkpoint = machine.checkpoint()
    counts = []
    for _ in range(2 * KEPT + 2):
        left = machine.fork(checkpoint)
        left.run(limit=100)
        del left
        gc.collect()
        counts.append((open_files(), engines()))
    assert counts[-1] == counts[0]
    machine.close()


def test_a_fork_that_fails_leaves_nothing_to_the_next(parent: Machine) -> None:
    checkpoint = parent.checkpoint()
    damaged = dataclasses.replace(checkpoint, chips={})
    expected = future(parent)
    for _ in range(KEPT + 1):
        with pytest.raises(MachineError, match="damaged"):
            parent.fork(damaged)
        gc.collect()
        assert not checkpoint.ram.spares
        fork = parent.fork(checkpoint)
        assert future(fork) == expected
        fork.close()
