"""Address line 20: while neither gate lets it through, the megabyte from 0x100000 on is the one below."""

from __future__ import annotations

import pytest

from machine import Configuration, ExitReason, Firmware, Machine
from machine.configuration import HOST, INSTRUCTIONS
from machine.memory import MIB
from tests.machine.rom import rom

# At 0x500 and, by way of FFFF:0510, at 0x100500; what is found there goes to 0x600 on.
START = "xor ax, ax; mov ds, ax; dec ax; mov es, ax; mov byte ptr es:[0x510], 0x11; mov byte ptr [0x500], 0x22; mov di, 0x600;"
LOOK = "mov al, byte ptr es:[0x510]; mov byte ptr [di], al; inc di;"
KEYBOARD_OFF, KEYBOARD_ON = (f"mov al, 0xd1; out 0x64, al; mov al, {value}; out 0x60, al;" for value in (0xDD, 0xDF))
PORT_ON, PORT_OFF = "mov al, 2; out 0x92, al;", "mov al, 0; out 0x92, al;"
END = "mov al, 0; out 0xf4, al; again: jmp again"
THROUGH, WRAPPED = 0x11, 0x22


@pytest.fixture(params=[INSTRUCTIONS, HOST])
def clock(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def booted(text: str, clock: str, cpus: int = 1) -> Machine:
    machine = Machine(Firmware(rom(START + text + END)), Configuration(4 * MIB, cpus, clock))
    assert machine.run(timeout=20.0).reason is ExitReason.DEBUG_EXIT
    return machine


def test_either_gate_lets_it_through(clock: str) -> None:
    machine = booted(LOOK + KEYBOARD_OFF + LOOK + PORT_ON + LOOK + KEYBOARD_ON + LOOK + PORT_OFF + LOOK + KEYBOARD_OFF + LOOK, clock)
    assert list(machine.memory.read(0x600, 6)) == [THROUGH, WRAPPED, THROUGH, THROUGH, THROUGH, WRAPPED]
    machine.close()


def test_stores_and_code_wrap_too(clock: str) -> None:
    machine = booted(KEYBOARD_OFF + "mov byte ptr es:[0x510], 0x33;" + KEYBOARD_ON + "mov al, byte ptr [0x500]; mov byte ptr [0x600], al;" + LOOK, clock)
    assert machine.memory.read(0x500, 1) == b"\x33" and machine.memory.read(0x100500, 1) == b"\x11"
    machine.close()


def test_a_copy_holds_it_and_a_reset_lets_it_go(clock: str) -> None:
    machine = booted(KEYBOARD_OFF, clock, cpus=2)
    checkpoint = machine.checkpoint()
    for vcpu in machine.engine.vcpus:
        vcpu.init()
    assert {vcpu.field(496, 4) for vcpu in machine.engine.vcpus} == {0xFFEFFFFF}, "INIT does not change a pin"
    machine.board.reset()
    assert {vcpu.field(496, 4) for vcpu in machine.engine.vcpus} == {0xFFFFFFFF}
    copy = machine.fork(checkpoint)
    assert {vcpu.field(496, 4) for vcpu in copy.engine.vcpus} == {0xFFEFFFFF}
    copy.close()
    again = machine.fork(machine.checkpoint())
    assert {vcpu.field(496, 4) for vcpu in again.engine.vcpus} == {0xFFFFFFFF}
    again.close()
    machine.close()
