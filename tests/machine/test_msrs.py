"""The MSRs and CR8 of a whole machine."""

from __future__ import annotations

import pytest

from machine import Configuration, ExitReason, Firmware, Machine
from machine.memory import MIB
from machine.msrs import IA32_APIC_BASE, IA32_BIOS_SIGN_ID, IA32_TSC
from tests.machine.rom import rom

LAPIC_VERSION, TPR = 0xFEE00030, 0xFEE00080
STORE = "mov dword ptr [0x{0:x}], eax; mov dword ptr [0x{0:x} + 4], edx;"


def booted(text: str, clock: str = "instructions") -> Machine:
    """Runs a program to its OUT to the debug exit."""
    machine = Machine(Firmware(rom("xor ax, ax; mov ds, ax;" + text + "mov al, 0; out 0xf4, al; again: jmp again")), Configuration(4 * MIB, clock=clock))
    machine.board.as_firmware_leaves_it()
    assert machine.run(timeout=20.0).reason is ExitReason.DEBUG_EXIT
    return machine


def u64(machine: Machine, address: int) -> int:
    return int.from_bytes(machine.memory.read(address, 8), "little")


@pytest.mark.parametrize("clock", ["instructions", "host"])
def test_the_apic_base_is_where_the_registers_are(clock: str) -> None:
    machine = booted(f"mov ecx, {IA32_APIC_BASE}; rdmsr;" + STORE.format(0x600), clock)
    assert u64(machine, 0x600) == 0xFEE00900, "enabled, boot processor"
    assert machine.mmio.read(LAPIC_VERSION, 4) & 0xFF == 0x14
    machine.close()


def test_a_local_apic_that_is_switched_off_answers_nowhere_until_it_is_on_again() -> None:
    off = f"mov ecx, {IA32_APIC_BASE}; rdmsr; and ah, 0xf7; wrmsr; rdmsr;" + STORE.format(0x600)
    machine = booted(off)
    assert u64(machine, 0x600) == 0xFEE00100 and machine.mmio.read(LAPIC_VERSION, 4) == 0xFFFFFFFF
    copy = machine.fork()
    assert copy.mmio.read(LAPIC_VERSION, 4) == 0xFFFFFFFF, "that is part of a checkpoint"
    copy.close()
    machine.close()
    machine = booted(off + "or ah, 8; wrmsr;")
    assert machine.mmio.read(LAPIC_VERSION, 4) & 0xFF == 0x14
    machine.close()


def test_reserved_bits_fault_and_another_base_is_noted() -> None:
    program = ("xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7000; mov word ptr [0x34], 0x7c00; mov word ptr [0x36], 0;"
               f"mov ecx, {IA32_APIC_BASE}; rdmsr; or ah, 4; wrmsr; mov eax, 0xfed10900; wrmsr; rdmsr;" + STORE.format(0x600)
               + "mov ecx, 0x800; rdmsr; mov al, 0; out 0xf4, al; again: jmp again")
    machine = Machine(Firmware(rom(program)), Configuration(4 * MIB, clock="instructions"))
    machine.memory.write(0x7C00, bytes.fromhex("ff061006" "55" "89e5" "83460202" "5d" "cf"))     # inc word ptr [0x610]; add word ptr [sp], 2; iret
    assert machine.run(timeout=20.0).reason is ExitReason.DEBUG_EXIT
    assert u64(machine, 0x610) == 2, "EXTD, since there is no x2APIC, and an MSR of x2APIC"
    assert u64(machine, 0x600) == 0xFEE00900
    told = "\n".join(machine.log.lines)
    assert "IA32_APIC_BASE written with reserved bits: #GP" in told and "written with another base" in told and "0x800 read, there is none: #GP" in told
    machine.close()


@pytest.mark.parametrize("clock", ["instructions", "host"])
def test_the_time_stamp_counter_is_read_and_set(clock: str) -> None:
    both = f"mov ecx, {IA32_TSC}; rdmsr;" + STORE.format(0x600) + "rdtsc;" + STORE.format(0x608) + "rdmsr;" + STORE.format(0x610)
    machine = booted(both + "xor eax, eax; mov edx, 0x7000; wrmsr; rdtsc;" + STORE.format(0x618) + "rdmsr;" + STORE.format(0x620), clock)
    assert u64(machine, 0x600) <= u64(machine, 0x608) <= u64(machine, 0x610)
    assert 0x7000_0000_0000 <= u64(machine, 0x618) <= u64(machine, 0x620) < 0x7001_0000_0000
    checkpoint = machine.checkpoint()
    machine.restore(checkpoint)
    assert 0 <= machine.checkpoint().tsc - checkpoint.tsc < 1 << 36, "what was set survives a restore"
    machine.close()


def test_no_microcode_has_been_loaded() -> None:
    machine = booted(f"mov ecx, {IA32_BIOS_SIGN_ID}; mov eax, 1; mov edx, 1; wrmsr; rdmsr;" + STORE.format(0x600))
    assert u64(machine, 0x600) == 0 and not machine.log.counts
    machine.close()
