"""Breakpoints, watchpoints and single steps, in 16-bit and 64-bit code, on both clocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machine import Configuration, Firmware, Machine
from machine.engine.engine import Reason
from tests.machine.engine.bench_guest import PROGRAM, Guest, assemble
from tests.machine.rom import rom

BUDGET = 10_000_000


@pytest.fixture(params=[True, False], ids=["counted", "free"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    made = Guest(counted=request.param)
    yield made
    made.close()


def address_of(text: str, upto: str) -> int:
    """Where the part of a program behind `upto` begins, with the prologue that `Guest.load` puts before it."""
    return PROGRAM + len(assemble("lidt [0x7ff0]; mov ax, 0x28; ltr ax;" + upto))


def test_a_breakpoint_stops_before_its_instruction_each_time(guest: Guest) -> None:
    text = "xor eax, eax; again: inc eax; mov [0x3000], rax; cmp eax, 3; jb again; hlt"
    guest.load(text)
    where = address_of(text, "xor eax, eax; inc eax;")
    guest.engine.breakpoints.add(where)
    seen = []
    while (result := guest.engine.run(0, BUDGET)).reason is Reason.BREAK:
        hit = guest.engine.breakpoints.hit
        assert hit is not None and (hit.cpu, hit.kind, hit.address) == (0, "breakpoint", where)
        seen.append((guest.engine.vcpus[0].rip, guest.engine.vcpus[0].regs[0], guest.u64(0x3000)))
    assert result.reason is Reason.HALT
    assert seen == [(where, 1, 0), (where, 2, 1), (where, 3, 2)]


def test_a_breakpoint_that_is_removed_does_not_stop(guest: Guest) -> None:
    text = "mov ecx, 5; again: nop; dec ecx; jnz again; hlt"
    guest.load(text)
    where = address_of(text, "mov ecx, 5;")
    guest.engine.breakpoints.add(where)
    assert guest.engine.run(0, BUDGET).reason is Reason.BREAK
    guest.engine.breakpoints.remove(where)
    assert guest.engine.run(0, BUDGET).reason is Reason.HALT


def test_breakpoints_do_not_count() -> None:
    guest = Guest(counted=True)
    text = "mov ecx, 100; again: nop; dec ecx; jnz again; hlt"
    guest.load(text)
    plain = guest.run(BUDGET).retired
    guest.load(text)
    guest.engine.breakpoints.add(address_of(text, "mov ecx, 100;"))
    total = 0
    while (result := guest.engine.run(0, BUDGET)).reason is Reason.BREAK:
        total += result.retired
    assert total + result.retired == plain
    guest.close()


def test_a_step_is_one_instruction_and_no_interrupt(guest: Guest) -> None:
    guest.handler(0x41, "inc qword ptr [0x3008]; iretq")
    text = "sti; nop; inc qword ptr [0x3000]; add eax, 1; rep stosb; jmp next; next: hlt"
    guest.load(text)
    guest.engine.breakpoints.instrument()
    vcpu = guest.engine.vcpus[0]
    places = []
    for index in range(7):
        if index == 5:
            vcpu.post(0x41)
        assert guest.engine.step(0).reason in (Reason.BUDGET, Reason.STOP)
        places.append(vcpu.rip)
    whole = ["lidt [0x7ff0];", "mov ax, 0x28;", "ltr ax;", "sti;", "nop;", "inc qword ptr [0x3000];", "add eax, 1;"]
    assert places == [PROGRAM + len(assemble("".join(whole[:count + 1]))) for count in range(7)]
    assert guest.u64(0x3008) == 0 and vcpu.offered == 0x41, "the interrupt waits"
    guest.run(BUDGET)
    assert guest.u64(0x3008) == 1


def test_a_step_over_a_breakpoint_and_from_it(guest: Guest) -> None:
    text = "nop; nop; nop; hlt"
    guest.load(text)
    guest.engine.breakpoints.instrument()
    first, second = address_of(text, "nop;"), address_of(text, "nop; nop;")
    guest.engine.breakpoints.add(first)
    guest.engine.breakpoints.add(second)
    assert guest.engine.run(0, BUDGET).reason is Reason.BREAK
    assert guest.engine.vcpus[0].rip == first
    guest.engine.step(0)
    assert guest.engine.vcpus[0].rip == second
    guest.engine.breakpoints.reported(0, second)
    assert guest.engine.run(0, BUDGET).reason is Reason.HALT


@pytest.mark.parametrize(("text", "on_read", "on_write", "kind"), [
    ("mov dword ptr [0x3004], 7", False, True, "write"), ("mov qword ptr [0x3000], 7", False, True, "write"),
    ("mov al, byte ptr [0x3005]", True, False, "read"),
    ("inc word ptr [0x3006]", True, True, "read"), ("lock xadd [0x3004], ecx", False, True, "write"), ("mov edi, 0x3005; stosb", False, True, "write"),
])
def test_a_watchpoint_stops_behind_the_access(guest: Guest, text: str, on_read: bool, on_write: bool, kind: str) -> None:
    whole = f"mov [0x3010], rax; mov rbx, [0x3018]; {text}; nop; nop; hlt"
    guest.load(whole)
    guest.engine.breakpoints.watch(0x3004, 4, on_read, on_write)
    assert guest.engine.run(0, BUDGET).reason is Reason.BREAK
    hit = guest.engine.breakpoints.hit
    assert hit is not None and hit.kind == kind
    assert guest.engine.vcpus[0].rip == address_of(whole, f"mov [0x3010], rax; mov rbx, [0x3018]; {text};")
    assert guest.engine.run(0, BUDGET).reason is Reason.HALT


def test_a_watchpoint_sees_stores_that_were_fast_before(guest: Guest) -> None:
    text = "mov ecx, 100; again: mov [0x3000], rcx; dec ecx; jnz again; jmp next; next: mov [0x3000], rcx; hlt"
    guest.load(text)
    where = address_of(text, "mov ecx, 100; again: mov [0x3000], rcx; dec ecx; jnz again; jmp next; next:")
    guest.engine.breakpoints.add(where)
    assert guest.engine.run(0, BUDGET).reason is Reason.BREAK
    guest.engine.breakpoints.watch(0x3000, 8, False, True)
    assert guest.engine.run(0, BUDGET).reason is Reason.BREAK
    assert guest.engine.breakpoints.hit is not None and guest.engine.breakpoints.hit.kind == "write"
    guest.engine.breakpoints.unwatch(0x3000, 8, False, True)
    guest.load(text)
    guest.engine.breakpoints.clear()
    assert guest.run(BUDGET).reason is Reason.HALT


def test_watchpoints_are_physical_so_an_alias_does_not_escape(guest: Guest) -> None:
    guest.memory.write(0x9000 + 0x2000 + 8 * 7, (0x83).to_bytes(8, "little"))            # virtual 14 MiB is physical 0, too
    guest.load("mov rax, 0xE03000; mov qword ptr [rax], 9; hlt")
    guest.engine.breakpoints.watch(0x3000, 8, False, True)
    assert guest.engine.run(0, BUDGET).reason is Reason.BREAK
    assert guest.engine.breakpoints.hit is not None and guest.engine.breakpoints.hit.address == 0x3000


def test_the_host_s_clock_counts_only_while_a_step_or_a_watchpoint_needs_it() -> None:
    """`retired_in_slice` is what the count hook has counted: it stays 0 where there is none."""
    guest = Guest(counted=False)
    text = "again: inc eax; mov [0x3000], rax; jmp again"
    guest.load(text)
    engine, points, where = guest.engine, guest.engine.breakpoints, address_of(text, "inc eax;")
    points.add(where)
    assert engine.run(0, BUDGET).reason is Reason.BREAK and not points.counting and engine.retired_in_slice() <= 0
    points.instrument()
    assert points.counting and engine.run(0, BUDGET).reason is Reason.BREAK and engine.retired_in_slice() == 3
    points.watch(0x3000, 8, False, True)
    points.release()
    assert points.counting, "the watchpoint needs it"
    points.unwatch(0x3000, 8, False, True)
    points.release()
    assert not points.counting and engine.run(0, BUDGET).reason is Reason.BREAK and engine.retired_in_slice() <= 0
    points.remove(where)
    assert engine.run(0, BUDGET).reason is Reason.BUDGET and engine.retired_in_slice() == 0
    points.instrument()
    assert engine.run(0, BUDGET).reason is Reason.BUDGET and engine.retired_in_slice() > 1000
    guest.close()


def test_a_watchpoint_s_stop_comes_before_the_next_instruction_s_breakpoint(guest: Guest) -> None:
    """Although the breakpoint was there first, and with the host's clock the count came after it."""
    text = "mov qword ptr [0x3000], 1; nop; hlt"
    guest.load(text)
    points = guest.engine.breakpoints
    points.add(address_of(text, "mov qword ptr [0x3000], 1;"))
    points.watch(0x3000, 8, False, True)
    kinds = []
    while guest.engine.run(0, BUDGET).reason is Reason.BREAK:
        assert points.hit is not None
        kinds.append(points.hit.kind)
    assert kinds == ["write", "breakpoint"]


@pytest.mark.parametrize("clock", ["instructions", "host"])
def test_real_mode_with_a_code_segment_base(clock: str) -> None:
    """Breakpoints are linear: CS base 0xFFFF0000 plus IP, at the reset vector and behind it."""
    machine = Machine(Firmware(rom("nop; mov cx, 3; again: inc ax; loop again; mov al, 5; out 0xf4, al; hlt")), Configuration(memory=4 << 20, clock=clock))
    engine, vcpu = machine.engine, machine.engine.vcpus[0]
    engine.breakpoints.instrument()
    engine.breakpoints.add(0xFFFFFFF0)
    engine.breakpoints.add(0xFFFFF004)
    places = []
    for _ in range(4):
        assert engine.run(0, BUDGET).reason is Reason.BREAK
        places.append((vcpu.cs_base + vcpu.rip, vcpu.regs[0] & 0xFFFF))
    assert places == [(0xFFFFFFF0, 0), (0xFFFFF004, 0), (0xFFFFF004, 1), (0xFFFFF004, 2)]
    engine.step(0)
    assert (vcpu.rip, vcpu.regs[0]) == (0xF005, 3)
    engine.breakpoints.clear()
    assert machine.run(timeout=5.0).value == 5
    machine.close()
